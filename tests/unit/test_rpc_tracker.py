"""Boards that TVM's tracker gives away by their key."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator

import pytest

from compiler.board_address import BoardAddress
from compiler.errors import NotRunnableError
from compiler.runners.open_runner import open_runner
from compiler.runners.rpc_process import RpcProcess
from tests import handmade
from tests.checked_artifacts import Case, make_case
from tests.rpc_board import (
    BoardProcess,
    start_server,
    start_tracker,
)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("rpc"))


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardProcess]:
    pytest.importorskip("tornado", reason="TVM's tracker needs it")
    with start_tracker(tmp_path_factory.mktemp("tracker")) as process:
        yield process


@pytest.fixture(scope="module")
def rack(
    tracker: BoardProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., BoardAddress]]:
    """The address of the only board of a tracker."""
    folder = tmp_path_factory.mktemp("rack")
    with start_server(folder, tracker=tracker.endpoint, key="hazel"):

        def address(key: str = "hazel", timeout_s: int = 20) -> BoardAddress:
            return BoardAddress(tracker=tracker.endpoint, device_key=key, timeout_s=timeout_s)

        _wait_for_key(address())
        yield address


def _wait_for_key(board: BoardAddress) -> None:
    """A server is there a moment before its tracker knows it."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(NotRunnableError):
            RpcProcess(board).close()
            return
    raise AssertionError("the board did not register")


def test_board_of_a_tracker(case: Case, rack: Callable[..., BoardAddress]) -> None:
    with open_runner(case.artifact, board=rack()) as runner:
        assert runner.run([{"in:put": handmade.sample()}]).outputs
        assert f"(board `hazel`, host {platform.node()}, over RPC)" in runner.machine.cpu


def test_no_board_of_the_key_is_free(case: Case, rack: Callable[..., BoardAddress]) -> None:
    with open_runner(case.artifact, board=rack()), pytest.raises(NotRunnableError) as caught:
        open_runner(case.artifact, board=rack(timeout_s=1))
    board = rack()
    assert caught.value.what == f"no board `hazel` of tracker {board.tracker} was free within 1 s"


def test_key_that_the_tracker_does_not_know(rack: Callable[..., BoardAddress]) -> None:
    with pytest.raises(NotRunnableError) as caught:
        RpcProcess(rack("oak"))
    board = rack()
    assert str(caught.value) == (
        f"the tracker at {board.tracker} has no board `oak`\n"
        "  why: its keys are: hazel\n"
        "  fix: register the board: python -m tvm.exec.rpc_server --tracker "
        f"{board.tracker} --key oak"
    )
