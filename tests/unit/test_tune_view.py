"""A tuning run as people see it: the live table, lines of progress, the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compiler.commands.tune_view import View, figure, print_result
from compiler.tuner.events import (
    ChoiceTried,
    Event,
    Finished,
    Judged,
    ModelTrained,
    Started,
    TaskEnded,
    TaskStarted,
    TrialEnded,
)
from compiler.tuner.result import TuningResult
from compiler.tuning.record import Outcome

CONV = "conv2d_float32_1x8x8x8"


def trial(value: float | None, best: float, trials: int, outcome: Outcome = "passed") -> TrialEnded:
    return TrialEnded(
        kernel=CONV,
        trace_id="a" * 12,
        record="b" * 12,
        origin="model",
        seed="",
        outcome=outcome,
        reason="" if value else "signal 11",
        value=value,
        best=best,
        default=100.0,
        predicted=None,
        trials=trials,
        failed=0 if value else 1,
        elapsed_s=1.0,
    )


def ended(**changes: Any) -> TaskEnded:
    facts: dict[str, Any] = {
        "kernel": CONV,
        "workload": "0" * 16,
        "calls": 2,
        "unit": "us",
        "default": 100.0,
        "best": 80.0,
        "winner": "c" * 12,
        "is_default": False,
        "gain": 1.25,
        "trials": 3,
        "failed": 1,
        "best_seed": "conv2d_float32_1x4x8x8 on x86-64-v3",
        "seed_gain": 1.1,
    }
    return TaskEnded(**{**facts, **changes})


EVENTS: tuple[Event, ...] = (
    ChoiceTried(
        signature="conv2d of x",
        choice="algorithm direct",
        outcome="passed",
        value=50.0,
        default=60.0,
        operators=1,
        is_gain=True,
    ),
    Started(
        model="m",
        target="host",
        fingerprint="f" * 64,
        threads=1,
        tasks=1,
        runner="native",
        unit="us",
        conditions="a machine",
        spent_s=20.0,
        spent_trials=4,
    ),
    TaskStarted(
        kernel=CONV,
        workload="0" * 16,
        rule="conv2d",
        calls=2,
        macs=9,
        space_size=16,
        known_trials=2,
    ),
    trial(100.0, 100.0, 1),
    trial(None, 100.0, 1, "crashed"),
    trial(80.0, 80.0, 2),
    trial(90.0, 80.0, 3),
    ModelTrained(samples=8, rank_correlation=0.5),
    ended(),
    Judged(accepted=True, gain=1.2, rejected=(), reason="run in turns"),
    Finished(
        reason="the time is used",
        trials=3,
        failed=1,
        elapsed_s=3.0,
        seconds_per_trial=1.0,
        default=200.0,
        best=160.0,
        rank_correlation=0.5,
    ),
)


class Live:
    """Keeps what would be drawn."""

    shown: Any = None

    def update(self, renderable: Any) -> None:
        self.shown = renderable


def drawn(renderable: Any) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def test_the_live_table() -> None:
    live = Live()
    view = View(120.0, say=lambda _: None, live=live)
    view.report("import")
    assert live.shown == "import"
    for event in EVENTS:
        view(event)
    table = drawn(live.shown)
    text = " ".join(table.split())  # the caption is as narrow as the table
    row = next(line for line in table.splitlines() if CONV in line).split()
    assert row == [CONV, "80.0", "us", "1.25", "5", "1"]
    assert "3 trials, 0 failed" in text
    assert " s left" in text
    assert "kernels together 1.250 times as fast" in text
    assert "rank correlation 0.50" in text


def test_lines_of_progress() -> None:
    said: list[str] = []
    view = View(None, say=said.append)
    for event in EVENTS:
        view(event)
    assert said == [
        "conv2d of x: algorithm direct: 1.20 times, kept",
        "1 kernels of m on a machine",
        f"{CONV}: 100.0 us, 1.00 times (model)",
        f"{CONV}: crashed: signal 11",
        f"{CONV}: 80.0 us, 1.25 times (model)",
        f"{CONV}: done, 1.25 times the default",
        "the whole model is 1.200 times as fast",
        "ended: the time is used",
    ]


def test_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(TuningResult(records=Path("logs"), events=EVENTS), explain=True)
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith(CONV)).split()
    assert row == [CONV, "2", "100.0", "us", "80.0", "us", "1.25", "3", "1", "c" * 12]
    assert "kernels together: 200.0 us by default, 160.0 us now (1.250 times as fast)" in text
    assert "3 trials, 1.00 s each, 1 failed, 3 s; ended: the time is used" in text
    assert "records: logs" in text
    assert "conv2d_float32_1x4x8x8 on x86-64-v3" in text
    assert "40%" in text  # the seed brought 1.10 of 1.25


def test_a_result_without_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    plain = tuple(event for event in EVENTS if not isinstance(event, TaskEnded))
    end = ended(best_seed="", seed_gain=None, is_default=True, gain=1.0, best=100.0)
    print_result(TuningResult(records=Path("logs"), events=(*plain, end)), explain=True)
    text = capsys.readouterr().out
    assert "no record of a like kernel or target gave a first candidate" in text
    assert "default" in text


def test_figures() -> None:
    assert figure(1234.56, "us") == "1,234.6 us"
    assert figure(0.0312, "us") == "0.031 us"
    assert figure(1234.0, "instructions") == "1,234 instructions"
