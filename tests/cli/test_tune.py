"""``tunesmith tune``, on this machine, killed and interrupted too."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from compiler.cli import exit_code
from compiler.commands.tune import parse_time
from compiler.tuning.folder import read_lines
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.summary import summarize
from tests.cli.conftest import Outcome
from tests.rpc_board import listening

_ROOT = Path(__file__).parent.parent.parent
_TIMEOUT_S = 240


@pytest.fixture
def model(models: Path) -> Path:
    return models / "mnist_dscnn_f32.onnx"


def words(model: Path, logs: Path, *more: str) -> list[str]:
    fixed = [
        "--target",
        "host",
        "--threads",
        "1",
        "--log-dir",
        str(logs),
        "--no-acceptance",
        "--no-choices",
    ]
    return ["tune", str(model), *fixed, *more]


def schedules(logs: Path) -> list[ScheduleRecord]:
    lines = read_lines(logs) if logs.is_dir() else ()
    return [line.record for line in lines if isinstance(line.record, ScheduleRecord)]


def started(model: Path, logs: Path, *more: str) -> subprocess.Popen[str]:
    """The command in a process of its own, and group of processes, events on its stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", "compiler", *words(model, logs, "--json", *more)],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def trials_until(process: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    """Read events until so many trials have ended; return those trials."""
    assert process.stdout is not None
    trials = []
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "trial":
            trials.append(event)
        if len(trials) == count:
            break
    return trials


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600.0), ("90s", 90.0), ("1h30m", 5400.0), ("2.5m", 150.0), ("45", 45.0)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "10 m", "m", "-5m", "0s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_time(text)


def test_refusals(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(words(model, tmp_path, "--runner", "native", "--tracker", "x:1")) == 2
    assert "do not go with --runner native" in capsys.readouterr().err
    assert exit_code(words(model, tmp_path, "--runner", "emulator", "--rpc-timeout", "5")) == 2
    said = capsys.readouterr().err
    assert "--tracker, --key and --rpc-timeout do not go with --runner emulator" in said
    for board in (["--rpc-timeout", "5"], ["--key", "hazel"]):
        assert exit_code(words(model, tmp_path, *board)) == 1
        said = capsys.readouterr().err
        assert "candidates for host go to no board\n  why: they are measured by the runner" in said
        assert "fix: give --runner rpc" in said
    assert exit_code(words(model, tmp_path, "--runner", "rpc")) == 1
    said = capsys.readouterr().err
    assert "boards for host are not known" in said
    assert "fix: give --tracker HOST:PORT" in said
    assert exit_code(["tune", str(model), "--target", "cuda-sm80"]) == 1
    assert "cannot be measured one by one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_does_not_answer_in_time(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = threading.Event()

    def silent(_: socket.socket) -> None:
        asked.wait(30)

    with listening(silent) as tracker:
        rpc = ["--runner", "rpc", "--tracker", tracker, "--key", "hazel", "--rpc-timeout", "1"]
        assert exit_code(words(model, tmp_path, *rpc)) == 1
        asked.set()
    said = capsys.readouterr().err
    assert f"the tracker at {tracker} did not answer within 1 s" in said


def test_one_kernel_is_tuned(
    tunesmith: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    """From the ONNX file to a table, lines of progress and records; then again, as JSON."""
    logs = tmp_path / "logs"
    kernels = ["--kernels", "conv2d*", "--trials", "4"]
    done = tunesmith(*words(model, logs, *kernels, "--explain"))
    assert done.code == 0, done.stderr
    assert "kernels together:" in done.stdout
    assert "4 trials" in done.stdout
    assert "ended: " in done.stderr
    records = schedules(logs)
    trials = [record for record in records if record.measurement.reference is None]
    assert len({record.trace_id for record in trials}) >= 4
    assert {record.measurement.unit for record in records} == {"us"}
    assert all(len(record.measurement.values) >= 3 for record in records if record.is_usable)
    assert summarize(logs).complaints == ()
    again = tunesmith(*words(model, logs, *kernels, "--json"))
    assert again.code == 0, again.stderr
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("started", "finished")
    tried = {record.trace_id for record in trials}
    assert not tried & {event["trace_id"] for event in events if event["event"] == "trial"}


def check_resumed(
    model: Path, logs: Path, seen: list[dict[str, Any]], total: int, *more: str, kills: int = 1
) -> None:
    """Nothing that was told is lost, the records are whole, and the run goes on to its end."""
    kept = {(record.kernel, record.trace_id) for record in schedules(logs)}
    assert {(event["kernel"], event["trace_id"]) for event in seen} <= kept
    assert summarize(logs).complaints == ()
    process = started(model, logs, "--trials", str(total), "--resume", *more)
    out, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    passed = sum(event["outcome"] == "passed" for event in seen)
    assert events[0]["spent_trials"] >= passed - kills  # a record is written before the count is
    trials = [event for event in events if event["event"] == "trial"]
    assert not kept & {(event["kernel"], event["trace_id"]) for event in trials}
    if seen:
        assert events[0]["spent_trials"] + len(trials) <= total
    assert summarize(logs).complaints == ()


def test_kill_9_loses_no_finished_trial(model: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    process = started(model, logs, "--kernels", "conv2d*", "--trials", "40")
    seen = trials_until(process, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=_TIMEOUT_S)
    assert len(seen) == 3
    check_resumed(model, logs, seen, 5, "--kernels", "conv2d*")


def events_of(out: str) -> list[dict[str, Any]]:
    """The events of whole lines: of the last one a killed run may have written a part."""
    return [json.loads(line) for line in out.splitlines(keepends=True) if line.endswith("\n")]


def killed_after(seconds: float, model: Path, logs: Path, *more: str) -> list[dict[str, Any]]:
    """Start a run, kill it at that moment, and return what it had told."""
    process = started(model, logs, *more)
    with pytest.raises(subprocess.TimeoutExpired):  # else it ended by itself before
        process.communicate(timeout=seconds)
    os.kill(process.pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=_TIMEOUT_S)
    return events_of(out)


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One log folder, each run resumes the one before; also before and between first trials."""
    logs, rng, endless = tmp_path / "logs", random.Random(20), ("--stop-gain", "0", "--resume")
    seen: list[dict[str, Any]] = []
    names: set[tuple[str, str]] = set()
    moments, spent = [], []
    for _ in range(20):
        moments.append(rng.uniform(0.5, 16.0))
        events = killed_after(moments[-1], model, logs, *endless)
        trials = [event for event in events if event["event"] == "trial"]
        new = {(event["kernel"], event["trace_id"]) for event in trials}
        assert not names & new  # what had ended before a kill is not tried again
        names |= new
        seen += trials
        spent += [event["spent_trials"] for event in events if event["event"] == "started"]
        assert names <= {(record.kernel, record.trace_id) for record in schedules(logs)}
        if logs.is_dir():
            assert exit_code(["logs", "check", "--log-dir", str(logs)]) == 0, capsys.readouterr()
    passed = sum(event["outcome"] == "passed" for event in seen)
    capsys.readouterr()
    print(f"killed after {', '.join(f'{moment:.1f}' for moment in moments)} s")
    print(f"{len(spent)} of 20 runs had started, {len(seen)} trials had ended, {passed} passed")
    assert passed > len(spent) > 10  # others were killed before they had told anything
    assert spent == sorted(spent)
    check_resumed(model, logs, seen, passed + 5, kills=20)


@pytest.mark.slow
def test_ctrl_c_saves_what_is_in_flight(model: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    process = started(model, logs)
    seen = trials_until(process, 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    out, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    events = [json.loads(line) for line in out.splitlines()]
    seen += [event for event in events if event["event"] == "trial"]
    assert events[-1]["reason"] == "stopped"
    kept = [(record.kernel, record.trace_id) for record in schedules(logs)]
    assert sorted(kept) == sorted((event["kernel"], event["trace_id"]) for event in seen)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(model: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    process = started(model, logs)
    trials_until(process, 2)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=_TIMEOUT_S)
    assert time.monotonic() - began < 30
    assert "Traceback" not in err
    assert process.returncode in (0, 130)  # 0: the run had already ended
    assert summarize(logs).complaints == ()


@pytest.mark.slow
def test_builds_use_what_was_found(
    tunesmith: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    tuned = tunesmith(*words(model, logs, "--trials", "24", "--acceptance", "--choices"))
    assert tuned.code == 0, tuned.stderr
    fixed = ["--target", "host", "--threads", "1", "-o", tmp_path / "out", "--records", logs]
    built = tunesmith("compile", model, *fixed, "--require-records", "--require-verify")
    assert built.code == 0, built.stderr
    assert "by record" in built.stdout
