"""Boards for tests: TVM's own RPC server and tracker as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from compiler.board_address import BoardAddress
from compiler.runners.tracker import ask_tracker

# What `python -m tvm.exec.rpc_server` and `rpc_tracker` start, without the second process and the
# second import of TVM that they take.
_SERVER = """
import sys
from tvm.rpc.server import PopenRPCServerState
tracker, key, port = sys.argv[1:]
address = (tracker.rsplit(":", 1)[0], int(tracker.rsplit(":", 1)[1])) if tracker else None
state = PopenRPCServerState(
    "127.0.0.1", int(port), int(port) + 200, tracker_addr=address, key=key, custom_addr="127.0.0.1"
)
print("port", state.port, flush=True)
"""
_TRACKER = """
import sys
from tvm.rpc.tracker import PopenTrackerServerState
state = PopenTrackerServerState("127.0.0.1", int(sys.argv[1]), int(sys.argv[1]) + 200)
print("port", state.port, flush=True)
"""
_START_TIMEOUT_S = 60


class BoardProcess:
    """A server or tracker; killed on exit, with the processes that it made."""

    def __init__(self, log: Path, script: str, *arguments: str) -> None:
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments, str(_free_port())],
                env={**os.environ, "TMPDIR": str(log.parent)},  # one that is killed leaves folders
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # so that all of it can be stopped or killed at once
            )
        self.port = int(self.wait_for(r"^port (\d+)$")[0])

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, pattern: str) -> list[str]:
        """Return all matches in what it has printed, once there is one."""
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end:
            found = re.findall(pattern, self.said, re.MULTILINE)
            if found:
                return found
            assert self._process.poll() is None, self.said
            time.sleep(0.02)
        raise AssertionError(f"no {pattern} in: {self.said}")

    def signal(self, number: int) -> None:
        """Send a signal to the process and to those that it made."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def start_server(folder: Path, tracker: str = "", key: str = "") -> BoardProcess:
    return BoardProcess(folder / "server.log", _SERVER, tracker, key)


def start_tracker(folder: Path) -> BoardProcess:
    return BoardProcess(folder / "tracker.log", _TRACKER)


@contextlib.contextmanager
def start_boards(
    folder: Path, tracker: BoardProcess, key: str, count: int
) -> Iterator[list[BoardProcess]]:
    """So many servers of one key, once the tracker knows them all."""
    places = [folder / f"{key}-{number}" for number in range(count)]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        for place in places:
            place.mkdir()
        started = list(pool.map(lambda place: start_server(place, tracker.endpoint, key), places))
        for server in started:
            stack.enter_context(server)
        end = time.monotonic() + _START_TIMEOUT_S
        while ask_tracker(tracker.endpoint, 5).boards(key) < count:
            assert time.monotonic() < end, "the boards did not register"
            time.sleep(0.05)
        yield started


def at(server: BoardProcess, timeout_s: int = 20) -> BoardAddress:
    return BoardAddress(server=server.endpoint, timeout_s=timeout_s)


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Give the address of a socket; its first connection that sends anything is served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        if connection.recv(1, socket.MSG_PEEK):
                            serve(connection)
                            return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def forwarded(connection: socket.socket, port: int, change: Callable[[bytes], bytes]) -> None:
    """Pass a connection on to a port of this machine; `change` what the client sends."""
    with socket.create_connection(("127.0.0.1", port)) as onward:

        def back() -> None:
            with contextlib.suppress(OSError):
                while data := onward.recv(65536):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                onward.sendall(change(data))
        thread.join(1)


def _free_port() -> int:
    """A port that was free a moment ago; the server takes the next free one from there on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return min(int(probe.getsockname()[1]), 65_000)
