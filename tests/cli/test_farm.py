"""``tunesmith farm status``: what a tracker of TVM has, and what is no tracker."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from compiler.board_address import BoardAddress
from compiler.cli import exit_code
from compiler.runners import tracker as client
from compiler.runners.rpc_process import RpcProcess
from tests.rpc_board import BoardProcess, listening, start_server, start_tracker

SUMMARY: dict[str, object] = {
    "queue_info": {"hazel": {"free": 1, "pending": 0}, "oak": {"free": 0, "pending": 2}},
    "server_info": [
        {"key": "server:hazel", "addr": ["10.0.0.2", 9090]},
        {"key": "server:hazel", "addr": ["10.0.0.1", 9091]},
        {"key": "server:alder", "addr": ["10.0.0.3", 9090]},
    ],
}


def status(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert exit_code(["farm", "status", *words]) == code
    said = capsys.readouterr()
    return said.out if code == 0 else said.err


def test_boards_by_key(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(_answers(SUMMARY)) as address:
        lines = status(capsys, "--tracker", address).splitlines()
    assert [line.split() for line in lines] == [
        ["key", "boards", "free", "busy", "waiting"],
        ["-----", "------", "----", "----", "-------"],
        ["alder", "1", "0", "1", "0"],
        ["hazel", "2", "1", "1", "0"],
        ["oak", "0", "0", "0", "2"],
        [],
        ["server", "key"],
        ["-------------", "-----"],
        ["10.0.0.3:9090", "alder"],
        ["10.0.0.1:9091", "hazel"],
        ["10.0.0.2:9090", "hazel"],
    ]


def test_boards_for_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(_answers(SUMMARY)) as address:
        document = json.loads(status(capsys, "--tracker", address, "--json"))
    assert document["tracker"] == address
    assert document["keys"][1] == {"key": "hazel", "boards": 2, "free": 1, "busy": 1, "waiting": 0}
    assert document["servers"][0] == {"key": "alder", "address": "10.0.0.3:9090"}


def test_no_boards(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(_answers({"queue_info": {}, "server_info": []})) as address:
        assert f"{address} has no boards" in status(capsys, "--tracker", address)


@pytest.mark.slow
def test_real_tracker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tornado", reason="TVM's tracker needs it")
    with (
        start_tracker(tmp_path) as tracker,
        start_server(tmp_path, tracker.endpoint, "hazel") as server,
    ):
        board = BoardAddress(tracker=tracker.endpoint, device_key="hazel", timeout_s=20)
        _wait_for_board(tracker)
        with RpcProcess(board):
            document = json.loads(status(capsys, "--tracker", tracker.endpoint, "--json"))
    assert document["keys"] == [{"key": "hazel", "boards": 1, "free": 0, "busy": 1, "waiting": 0}]
    assert document["servers"] == [{"key": "hazel", "address": server.endpoint}]


def _wait_for_board(tracker: BoardProcess) -> None:
    end = time.monotonic() + 20
    while not client.ask_tracker(tracker.endpoint, 5).servers:
        assert time.monotonic() < end, "the board did not register"
        time.sleep(0.05)


def test_tracker_that_hangs(capsys: pytest.CaptureFixture[str]) -> None:
    released = threading.Event()
    with listening(lambda _: void(released.wait())) as address:
        start = time.monotonic()
        said = status(capsys, "--tracker", address, "--timeout", "1", code=1)
        assert time.monotonic() - start < 3
        released.set()
    assert said == (
        f"error: the tracker at {address} did not answer within 1 s\n"
        "  why: it hangs, the network is slow, or what listens there is no tracker\n"
        "  fix: try again, or start the tracker again if that does not help\n"
    )


def void(_: object) -> None:
    """What is returned is of no use."""


def test_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    assert status(capsys, "--tracker", address, code=1) == (
        f"error: the tracker at {address} cannot be reached\n"
        "  why: no connection: Connection refused\n"
        "  fix: check the address, or start a tracker there: python -m tvm.exec.rpc_tracker "
        "--host 0.0.0.0 --port 9190\n"
    )


def _hangs_up(connection: socket.socket) -> None:
    connection.recv(64)


def _speaks_http(connection: socket.socket) -> None:
    connection.recv(64)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _answers(summary: Mapping[str, object] | bytes) -> Callable[[socket.socket], None]:
    """A tracker that says this, whatever it is asked."""
    text = summary if isinstance(summary, bytes) else json.dumps([0, summary]).encode()

    def serve(connection: socket.socket) -> None:
        connection.recv(4)
        connection.sendall(struct.pack("<i", client.TRACKER_MAGIC))
        connection.recv(64)
        connection.sendall(struct.pack("<i", len(text)) + text)

    return serve


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (_hangs_up, "ValueError: it closes the connection"),
        (_speaks_http, "ValueError: it answers with 0x50545448, a tracker with 0x2f271"),
        (_answers(b"[-1, {}]"), "ValueError: it answers with status -1"),
        (_answers(b"nonsense"), "JSONDecodeError: "),
        (_answers(b"[0, {}]"), "KeyError: 'server_info'"),
        (_answers(b"7"), "TypeError: "),
    ],
)
def test_what_is_no_tracker(
    serve: Callable[[socket.socket], None], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(serve) as address:
        said = status(capsys, "--tracker", address, code=1)
    assert f"error: what listens at {address} is no tracker of TVM 0.27\n  why: {why}" in said


def test_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert "an address is HOST:PORT" in status(capsys, "--tracker", "lab", code=2)
    assert exit_code(["farm", "--json", "status"]) == 2
    assert "write `tunesmith farm status ... --json`" in capsys.readouterr().err


@pytest.mark.slow
def test_codes_are_those_of_tvm() -> None:
    base = pytest.importorskip("tvm.rpc.base")
    assert base.RPC_TRACKER_MAGIC == client.TRACKER_MAGIC
    assert base.TrackerCode.SUMMARY == client.SUMMARY


def test_it_needs_no_tvm() -> None:
    code = (
        "import sys; from compiler.cli import exit_code; "
        "exit_code(['farm', 'status', '--tracker', '127.0.0.1:1']); "
        "sys.exit('tvm' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
