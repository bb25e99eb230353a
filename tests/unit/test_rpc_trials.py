"""Candidates on boards behind a tracker: TVM servers of this machine, one lost, one hanging."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import NotRunnableError
from compiler.runners.machine import this_machine
from compiler.runners.tracker import ask_tracker
from compiler.target_spec import TargetSpec, load_target, missing_cpu_features, runs_here
from compiler.tuner.rpc_runner import RpcRunner
from compiler.tuner.trial import KernelData
from tests.planted_trials import DATA, FAULTS, GIVEN, RIGHT, planted
from tests.rpc_board import BoardProcess, start_boards, start_tracker
from tests.trial_kernels import trial_kernels

pytestmark = pytest.mark.slow
TRIALS = 24


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardProcess]:
    pytest.importorskip("tornado", reason="TVM's tracker needs it")
    with start_tracker(tmp_path_factory.mktemp("tracker")) as process:
        yield process


@pytest.fixture(scope="module")
def spec() -> TargetSpec:
    return load_target("host")


@pytest.fixture(scope="module")
def runner(
    spec: TargetSpec, tracker: BoardProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RpcRunner]:
    """One board for all tests that lose none; kernels may take half of four seconds."""
    with (
        start_boards(tmp_path_factory.mktemp("boards"), tracker, "alder", 1),
        RpcRunner(spec, tracker.endpoint, "alder", timeout_s=4) as runner,
    ):
        yield runner


def test_right_kernel(runner: RpcRunner, spec: TargetSpec, tmp_path: Path) -> None:
    measured = runner.measure(planted(spec, tmp_path), DATA)
    assert (measured.outcome, measured.reason) == ("passed", "")
    assert len(measured.values) >= 3
    assert all(0 < us < 1_000 for us in measured.values)
    assert (runner.name, runner.unit, runner.slots, runner.set_aside) == ("rpc", "us", 1, ())
    here = f"{this_machine().cpu} (board `alder`, host {platform.node()}, over RPC); one thread"
    assert runner.conditions.startswith(here)


@pytest.mark.parametrize(("body", "outcome", "said"), FAULTS)
def test_planted_kernel_leaves_the_board(
    runner: RpcRunner, spec: TargetSpec, tmp_path: Path, body: str, outcome: str, said: str
) -> None:
    measured = runner.measure(planted(spec, tmp_path, body), DATA)
    assert (measured.outcome, measured.values) == (outcome, ())
    assert said in measured.reason
    assert runner.measure(planted(spec, tmp_path), DATA).outcome == "passed"
    assert runner.set_aside == ()


def test_kernel_that_cannot_be_linked(runner: RpcRunner, spec: TargetSpec, tmp_path: Path) -> None:
    body = "extern void absent(void); absent(); out[begin] = in[begin];"
    right = planted(spec, tmp_path)
    failed, passed = runner.measure_in_turns([planted(spec, tmp_path, body), right], DATA, 3)
    assert failed.outcome == "not-built"
    assert "absent" in failed.reason
    assert passed.outcome == "passed"


def test_times_are_those_of_the_kernel(runner: RpcRunner, spec: TargetSpec, tmp_path: Path) -> None:
    """Twice the work in one library beside the other, in turns."""
    rounds = "for (volatile int32_t k = 0; k < {}; k++) { } out[begin] = 3 * in[begin];"
    kernels = [
        planted(spec, tmp_path, rounds.replace("{}", str(count))) for count in (20_000, 40_000)
    ]
    short, long = runner.measure_in_turns(kernels, DATA, 5)
    assert (len(short.values), len(long.values)) == (5, 5)
    assert 1.5 < np.median(long.values) / np.median(short.values) < 2.7


def test_inputs_of_several_tasks(runner: RpcRunner, spec: TargetSpec, tmp_path: Path) -> None:
    """More than a board keeps: those that were given up are sent again."""
    kernel = planted(spec, tmp_path)
    tasks = [
        KernelData(key=f"by {factor}", inputs=(factor * GIVEN,), expected=(3 * factor * GIVEN,))
        for factor in range(4)
    ]
    for data in (*tasks, *tasks, tasks[3], tasks[0]):
        assert runner.measure(kernel, data).outcome == "passed"


def test_kernels_of_a_model(runner: RpcRunner, models: Path) -> None:
    if not runs_here(load_target("x86-64-v3")):
        pytest.skip("the board is this machine, and no x86-64-v3")
    for one in trial_kernels(models / "mlperf_tiny_kws_dscnn_f32.onnx", "x86-64-v3"):
        measured = runner.measure(one.kernel, one.data)
        assert (measured.outcome, measured.reason) == ("passed", "")


def test_a_board_that_dies_and_one_that_hangs(
    spec: TargetSpec, tracker: BoardProcess, tmp_path: Path
) -> None:
    """All trials end with results, by the board that is left."""
    kernel = planted(spec, tmp_path, "for (volatile int k = 0; k < 900000; k++) {} " + RIGHT)
    said: list[str] = []
    done = 0
    with (
        start_boards(tmp_path, tracker, "hazel", 3) as (first, second, _),
        RpcRunner(spec, tracker.endpoint, "hazel", timeout_s=4, report=said.append) as runner,
        ThreadPoolExecutor(runner.slots) as pool,
    ):
        assert runner.slots == 3
        _wait_until_all_have_joined(tracker)
        trials = [pool.submit(runner.measure, kernel, DATA) for _ in range(TRIALS)]
        for trial in as_completed(trials):
            assert trial.result().outcome == "passed"
            done += 1
            if done == 4:
                first.kill()
            if done == 8:
                second.signal(signal.SIGSTOP)
        assert done == TRIALS
        assert len(runner.set_aside) == 2
        assert len(said) == 2
        assert "lost when" in " ".join(runner.set_aside)
        assert "did not answer within 4 s" in " ".join(runner.set_aside)
        assert runner.conditions.count("set aside: board") == 2
        assert runner.measure(kernel, DATA).outcome == "passed"


def _wait_until_all_have_joined(tracker: BoardProcess) -> None:
    end = time.monotonic() + 60
    while True:
        (hazel,) = [key for key in ask_tracker(tracker.endpoint, 5).keys if key.key == "hazel"]
        if hazel.busy == 3:
            return
        assert time.monotonic() < end, hazel
        time.sleep(0.1)


def test_no_board_is_left(spec: TargetSpec, tracker: BoardProcess, tmp_path: Path) -> None:
    kernel = planted(spec, tmp_path)
    with (
        start_boards(tmp_path, tracker, "oak", 1) as (only,),
        RpcRunner(spec, tracker.endpoint, "oak", timeout_s=4) as runner,
    ):
        assert runner.measure(kernel, DATA).outcome == "passed"
        only.kill()
        with pytest.raises(NotRunnableError) as caught:
            runner.measure(kernel, DATA)
        with pytest.raises(NotRunnableError):
            runner.measure(kernel, DATA)
    assert caught.value.what == f"no board `oak` of tracker {tracker.endpoint} is left"
    assert caught.value.why.startswith("board 1 of 1 (`oak`): the connection to board `oak`")


def test_board_without_the_target_s_features(tracker: BoardProcess, tmp_path: Path) -> None:
    if not missing_cpu_features(load_target("sapphire-rapids")):
        pytest.skip("this machine has all that sapphire-rapids has")
    with start_boards(tmp_path, tracker, "rowan", 1), pytest.raises(NotRunnableError) as caught:
        RpcRunner(load_target("sapphire-rapids"), tracker.endpoint, "rowan", timeout_s=20)
    assert "lacks the CPU feature" in caught.value.why


def test_key_that_the_tracker_does_not_know(spec: TargetSpec, tracker: BoardProcess) -> None:
    with pytest.raises(NotRunnableError) as caught:
        RpcRunner(spec, tracker.endpoint, "absent", timeout_s=4)
    assert caught.value.what == f"the tracker at {tracker.endpoint} has no board `absent`"
    assert caught.value.why.startswith("its keys are: ") or "no boards at all" in caught.value.why
