"""Tuning on three boards of a tracker, of which one dies and one hangs."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest

from compiler.target_spec import load_target, runs_here
from compiler.tuner.events import Event, TrialEnded
from compiler.tuner.open_trials import RunnerOptions
from compiler.tuner.rpc_runner import RpcRunner
from compiler.tuner.tune import tune
from compiler.tuning.store import read_records
from compiler.tuning.target_key import target_key
from tests.rpc_board import start_boards, start_tracker

TRIALS = 14
TIMEOUT_S = 6


@pytest.mark.slow
def test_it_ends_with_records_of_all_kernels(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tornado", reason="TVM's tracker needs it")
    spec = load_target("x86-64-v3")
    if not runs_here(spec):
        pytest.skip("the boards are this machine, and no x86-64-v3")
    lost: list[str] = []
    runner = partial(RpcRunner, report=lost.append)
    monkeypatch.setattr("compiler.tuner.rpc_runner.RpcRunner", runner)
    ended: list[str] = []
    with (
        start_tracker(tmp_path) as tracker,
        start_boards(tmp_path, tracker, "hazel", 3) as (first, second, _),
    ):

        def listen(event: Event) -> None:
            if isinstance(event, TrialEnded):
                ended.append(event.outcome)
                if len(ended) == 3:
                    first.kill()
                if len(ended) == 7:
                    second.signal(signal.SIGSTOP)

        result = tune(
            models / "mlperf_tiny_kws_dscnn_f32.onnx",
            target=spec,
            log_dir=tmp_path / "logs",
            trials=TRIALS,
            stop_gain=0.0,
            threads=1,
            jobs=1,
            choices=False,  # all trials go to the kernels, each of which the listener hears of
            acceptance=False,
            runner=RunnerOptions(
                kind="rpc", tracker=tracker.endpoint, key="hazel", timeout_s=TIMEOUT_S
            ),
            listener=listen,
        )
    assert ended == ["passed"] * TRIALS, lost
    assert len(lost) == 2
    hung = f"did not answer within {TIMEOUT_S} s"
    assert [hung in reason for reason in lost].count(True) == 1
    kernels = result.kernels
    assert len(kernels) == result.started.tasks
    assert all(kernel.best is not None for kernel in kernels)
    records = read_records(tmp_path / "logs", target_key(spec, 1))
    assert len(records.schedules) == len(kernels)
    assert not records.passed_over
