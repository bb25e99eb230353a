"""Boards over RPC that are missing, busy, others than expected, or lost: each says so."""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.board_address import BoardAddress
from compiler.errors import InputError, NotRunnableError, OtherProcessorError
from compiler.host_target import host_cpu_features
from compiler.runners.open_runner import open_runner
from compiler.runners.rpc_client import Client
from compiler.runners.rpc_process import RpcProcess
from compiler.runners.runner import Block, KernelSymbol
from compiler.verification.result import Status
from compiler.verify import check
from tests import handmade
from tests.checked_artifacts import Case, make_case
from tests.rpc_board import (
    BoardProcess,
    at,
    forwarded,
    listening,
    start_server,
)

_PROGRAMS = Path(__file__).parents[2] / "compiler" / "runners" / "programs"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("rpc"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardProcess]:
    with start_server(tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[BoardProcess]:
    """One that the test may kill."""
    with start_server(tmp_path) as process:
        yield process


def test_verified_there_and_not_by_its_address(case: Case, server: BoardProcess) -> None:
    result = check(case.artifact.path, case.model, board=at(server))
    assert result.status is Status.PASSED
    written = case.artifact.verification_path.read_text()
    assert f"host {platform.node()}, over RPC" in written
    assert "127.0.0.1" not in written


def test_wrong_kernel_is_named(tmp_path: Path, server: BoardProcess) -> None:
    """Constants are read from the weights that the model's library has on the board."""
    wrong = make_case(tmp_path, {3: np.zeros((handmade.SIZE, handmade.SIZE), np.float32)})
    result = check(wrong.artifact.path, wrong.model, board=at(server))
    assert result.status is Status.FAILED
    assert result.first_difference is not None
    native = check(wrong.artifact.path, wrong.model)
    assert native.first_difference is not None
    assert result.first_difference.index == native.first_difference.index


def test_fewer_threads_than_one(case: Case) -> None:
    with pytest.raises(InputError, match="threads is 0"):
        open_runner(case.artifact, threads=0, board=BoardAddress(server="127.0.0.1:1"))


def test_missing_feature_is_named_before_any_kernel(tmp_path: Path, server: BoardProcess) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("features of x86-64")
    known = ("avx512fp16", "amx-int8", "avx512bf16", "avx512f")
    lacking = [name for name in known if name not in host_cpu_features()]
    if not lacking:
        pytest.skip("this processor has every feature")
    artifact = handmade.build(tmp_path / "kws", features=(lacking[0],))
    with pytest.raises(OtherProcessorError) as caught:
        open_runner(artifact, board=at(server))
    assert caught.value.what == f"board {server.endpoint} lacks the CPU feature {lacking[0]}"
    assert "the library was compiled for host, the board is " in caught.value.why


def test_nothing_listens(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    board = BoardAddress(server=endpoint)
    with pytest.raises(NotRunnableError) as caught:
        open_runner(case.artifact, board=board)
    assert str(caught.value) == (
        f"the board at {endpoint} cannot be reached\n"
        "  why: no connection: Connection refused\n"
        "  fix: check the address, and that `python -m tvm.exec.rpc_server` runs there"
    )
    result = check(case.artifact.path, case.model, board=board)
    assert result.status is Status.NOT_RUN
    assert result.reason.startswith(f"the board at {endpoint} cannot be reached: no connection")


def test_server_that_serves_another_client(case: Case, server: BoardProcess) -> None:
    with open_runner(case.artifact, board=at(server)) as first:
        with pytest.raises(NotRunnableError) as caught:
            open_runner(case.artifact, board=at(server, timeout_s=1))
        assert str(caught.value) == (
            f"board {server.endpoint} did not answer within 1 s (taking the connection)\n"
            "  why: it is in use by another client, too slow, or hangs\n"
            "  fix: try again, or raise `timeout_s` (--rpc-timeout)"
        )
        assert first.run([{"in:put": handmade.sample()}]).outputs


def test_what_listens_is_no_server_of_tvm(case: Case) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-board\r\n")
        while connection.recv(1000):  # to the end: closed earlier, it would be a lost connection
            pass

    with listening(greet) as endpoint, pytest.raises(NotRunnableError) as caught:
        open_runner(case.artifact, board=BoardAddress(server=endpoint, timeout_s=5))
    assert caught.value.what == f"what listens at {endpoint} is no RPC server of TVM"


def test_server_of_another_tvm(case: Case, server: BoardProcess) -> None:
    """The version that the client sends is changed on its way, so that the server refuses it."""

    def older(data: bytes) -> bytes:
        return data.replace(b"0.8.0", b"0.7.0")

    def serve(connection: socket.socket) -> None:
        forwarded(connection, server.port, older)

    with listening(serve) as endpoint, pytest.raises(NotRunnableError) as caught:
        open_runner(case.artifact, board=BoardAddress(server=endpoint, timeout_s=5))
    assert caught.value.what == f"board {endpoint} has a server of another TVM"
    assert "protocol=0.8.0" in caught.value.why
    assert "protocol=0.7.0" in caught.value.why
    assert caught.value.fix.startswith("install apache-tvm 0.27")


def test_board_of_another_architecture(server: BoardProcess, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    cc = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu", "-shared"]
    (tmp_path / "other.c").write_text("int nothing;\n")
    library = tmp_path / "other.so"
    subprocess.run([*cc, "-o", library, tmp_path / "other.c"], check=True)
    with RpcProcess(at(server)) as process, pytest.raises(NotRunnableError) as caught:
        process.load(library, "other.so", "aarch64-unknown-linux-gnu")
    what = f"board {server.endpoint} is another machine than the library was compiled for"
    assert caught.value.what == what
    assert "the library is for aarch64-unknown-linux-gnu, the board's TVM for x86_64" in (
        caught.value.why
    )


def test_library_that_does_not_load(server: BoardProcess, tmp_path: Path) -> None:
    library = tmp_path / "broken.so"
    library.write_bytes(b"no library")
    triple = f"{platform.machine()}-unknown-linux-gnu"
    with RpcProcess(at(server)) as process, pytest.raises(NotRunnableError) as caught:
        process.load(library, "broken.so", triple)
    assert caught.value.what == f"board {server.endpoint} cannot load the library"
    assert f"it was compiled for {triple}, and the board says: " in caught.value.why
    assert "broken.so" in caught.value.why


def test_server_that_wants_a_key(case: Case, server: BoardProcess) -> None:
    board = BoardAddress(server=server.endpoint, device_key="oak", timeout_s=5)
    with pytest.raises(NotRunnableError) as caught:
        open_runner(case.artifact, board=board)
    assert caught.value.what == f"board {server.endpoint} has another key than oak"


def test_server_in_the_place_of_a_tracker(server: BoardProcess) -> None:
    with pytest.raises(NotRunnableError) as caught:
        RpcProcess(BoardAddress(tracker=server.endpoint, device_key="hazel", timeout_s=5))
    assert caught.value.what == f"what listens at {server.endpoint} is no tracker of TVM"


def test_server_that_ends_in_the_middle(case: Case, own_server: BoardProcess) -> None:
    inputs = [{"in:put": handmade.sample()}]
    with open_runner(case.artifact, board=at(own_server)) as runner:
        assert runner.run(inputs).outputs
        own_server.kill()
        for _ in range(2):  # it stays so
            with pytest.raises(NotRunnableError) as caught:
                runner.run(inputs)
            what = f"the connection to board {own_server.endpoint} was lost when"
            assert caught.value.what == f"{what} running the library"


def test_board_that_hangs_is_given_up(case: Case, own_server: BoardProcess) -> None:
    inputs = [{"in:put": handmade.sample()}]
    with open_runner(case.artifact, board=at(own_server, timeout_s=2)) as runner:
        assert runner.run(inputs).outputs
        own_server.signal(signal.SIGSTOP)
        with pytest.raises(NotRunnableError) as caught:
            runner.run(inputs)
    what = f"board {own_server.endpoint} did not answer within 2 s (running the library)"
    assert caught.value.what == what


def test_crash_leaves_the_server_alive(case: Case, server: BoardProcess) -> None:
    """TVM's server ends if a client's process ends badly: it must not."""
    nowhere = Block(content=np.zeros(8, np.uint8), offset=1 << 46)
    symbol = KernelSymbol(name="kws_dense", pointer_count=5)
    with (
        open_runner(case.artifact, board=at(server)) as runner,
        runner.kernels([symbol], None) as kernels,
        pytest.raises(NotRunnableError) as caught,
    ):
        kernels.call([(symbol.name, 1)], [nowhere] * 5)
    assert "or the library crashed there" in caught.value.why
    assert "tunesmith: the library crashed" in server.said
    with open_runner(case.artifact, board=at(server)) as runner:
        assert runner.run([{"in:put": handmade.sample()}]).outputs


def test_endless_run_is_ended_on_the_board(server: BoardProcess, tmp_path: Path) -> None:
    source = tmp_path / "endless.c"
    source.write_text(
        '#include "board_guard.h"\n#include "tvm_ffi_abi.h"\n'
        "FFI_FUNCTION(hang) { (void)self; (void)count; (void)result;\n"
        "guard_for(arguments[0].value.integer); for (;;) { pause(); } }\n"
    )
    library = tmp_path / "endless.so"
    cc = ["cc", "-shared", "-fPIC", "-I", str(_PROGRAMS), "-o", str(library), str(source)]
    subprocess.run(cc, check=True)
    with RpcProcess(at(server)) as process:
        process.load(library, "endless.so", "any")
        with pytest.raises(NotRunnableError) as caught:
            process.call("endless.so", "hang", (1,), doing="waiting")
    assert "was lost when" in caught.value.what
    assert "tunesmith: the library takes too long" in server.said
    RpcProcess(at(server)).close()  # it serves the next one


def test_client_that_ends_is_one_clear_error(server: BoardProcess) -> None:
    with RpcProcess(at(server)) as process:
        process._process.kill()
        with pytest.raises(NotRunnableError) as caught:
            process.call("any", "any", (), doing="running the library")
    assert caught.value.what == f"the process that speaks to board {server.endpoint} has ended"
    assert caught.value.why == "it ended with status -9 when running the library"


def test_missing_toolchain(case: Case, server: BoardProcess) -> None:
    manifest = case.artifact.manifest
    runner = replace(manifest.runner, cc=("hazel-cc",))
    artifact = replace(case.artifact, manifest=replace(manifest, runner=runner))
    with pytest.raises(NotRunnableError) as caught:
        open_runner(artifact, board=at(server))
    assert caught.value.what == "no C compiler: `hazel-cc` was not found"
    assert caught.value.why == "it links the library that the board loads"


def test_manifest_without_an_address(case: Case) -> None:
    manifest = case.artifact.manifest
    runner = replace(manifest.runner, kind="rpc")
    with pytest.raises(NotRunnableError) as caught:
        open_runner(replace(case.artifact, manifest=replace(manifest, runner=runner)))
    assert caught.value.fix == "give the address: --rpc HOST:PORT"


def test_family_without_an_operating_system(case: Case) -> None:
    manifest = case.artifact.manifest
    target = replace(manifest.target, name="hazel-m4", family="mcu")
    artifact = replace(case.artifact, manifest=replace(manifest, target=target))
    with pytest.raises(NotRunnableError, match="cannot be run on a board over RPC") as caught:
        open_runner(artifact, board=BoardAddress(server="127.0.0.1:1"))
    assert "target hazel-m4 is of the family `mcu`" in caught.value.why


def test_without_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    with pytest.raises(NotRunnableError) as caught:
        Client().start()
    assert caught.value.what == "TVM is not installed here"
