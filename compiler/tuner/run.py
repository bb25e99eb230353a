"""One run over tasks that are known, with what builds, measures and judges at hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.tuner.cost_model import CostModel
from compiler.tuner.events import ChoiceTried, Event, Finished, Judged, Listener, Started, TaskEnded
from compiler.tuner.result import TuningResult
from compiler.tuner.run_state import NOTHING_SPENT, Spent, forget, read_spent, run_file, write_spent
from compiler.tuner.session import SessionOptions, TuningSession
from compiler.tuner.tasks import TaskList
from compiler.tuner.transfer import sources
from compiler.tuner.trial import KernelData, TrialRunner, TuningTask
from compiler.tuner.trial_line import Builder, TrialLine
from compiler.tuner.trial_log import TrialLog, known_records
from compiler.tuning.target_key import TargetKey
from compiler.tuning.writer import RecordWriter

# Of a limit in time, what is kept back for running the whole model, tuned and untuned.
_FOR_ACCEPTANCE = 0.1
_MOST_FOR_ACCEPTANCE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneOptions:
    """How much is spent on what."""

    seconds: float | None = None
    trials: int | None = None
    stop_gain: float = 0.005
    kernels: str = "*"
    seed: int = 0
    resume: bool = False
    jobs: int | None = None
    began: float = field(default_factory=time.monotonic)
    trials_before: int = 0  # of this run, before its tasks were known: of choices
    failed_before: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What builds, measures and judges; tests put others here."""

    builder: Builder
    runner: TrialRunner
    data_of: Callable[[TuningTask], KernelData]
    judge: Callable[[float | None], Judged] | None = None  # given the seconds that are left
    depth: int = 4


def run(
    model_name: str,
    found: TaskList,
    key: TargetKey,
    log_dir: Path,
    bench: Bench,
    options: TuneOptions,
    listener: Listener,
    stop: threading.Event | None = None,
    events_before: Sequence[Event] = (),
) -> TuningResult:
    """Tune tasks that are known, with what builds and measures at hand."""
    events = list(events_before)

    def tell(event: Event) -> None:
        events.append(event)
        listener(event)

    folder = log_dir / key.name / key.fingerprint
    state = run_file(folder, found.tasks)
    spent = (read_spent(state) if options.resume else None) or NOTHING_SPENT
    stop = stop or threading.Event()
    runner = bench.runner
    tell(
        Started(
            model=model_name,
            target=key.name,
            fingerprint=key.fingerprint,
            threads=key.threads,
            tasks=len(found.tasks),
            runner=runner.name,
            unit=runner.unit,
            conditions=runner.conditions,
            spent_s=spent.seconds,
            spent_trials=spent.trials,
        )
    )
    known = known_records(log_dir, key)
    workloads = frozenset(task.workload for task in found.tasks)
    elsewhere = sources([*known.own, *known.others], key, workloads)
    with RecordWriter(log_dir, key) as writer:
        log = TrialLog(key=key, writer=writer, runner=runner)
        with TrialLine(bench.builder, runner, log, bench.data_of) as line:
            session = TuningSession(
                found,
                line,
                known,
                elsewhere,
                CostModel(folder),
                unit=runner.unit,
                options=_session_options(options, bench, spent),
                listener=tell,
                stop=stop,
                keep_spent=lambda now: write_spent(state, now),
            )
            finished = session.run()
    trials = finished.trials + options.trials_before
    finished = replace(
        finished,
        trials=trials,
        failed=finished.failed + options.failed_before,
        seconds_per_trial=finished.elapsed_s / trials if trials else None,
    )
    ended = [event for event in events if isinstance(event, TaskEnded)]
    is_changed = not all(one.is_default for one in ended) or any(
        isinstance(event, ChoiceTried) and event.is_gain for event in events
    )
    _judge(bench, options, finished, spent, stop, tell, is_changed)
    if not stop.is_set():
        forget(state)
    tell(finished)
    return TuningResult(records=log_dir, events=tuple(events))


def _session_options(options: TuneOptions, bench: Bench, spent: Spent) -> SessionOptions:
    seconds = options.seconds
    if seconds is not None and bench.judge is not None:
        seconds -= min(_FOR_ACCEPTANCE * seconds, _MOST_FOR_ACCEPTANCE_S)
    return SessionOptions(
        seconds=seconds,
        trials=options.trials,
        stop_gain=options.stop_gain,
        seed=options.seed,
        depth=bench.depth,
        spent=replace(
            spent,
            trials=spent.trials + options.trials_before,
            failed=spent.failed + options.failed_before,
        ),
        began=options.began,
    )


def _judge(
    bench: Bench,
    options: TuneOptions,
    finished: Finished,
    spent: Spent,
    stop: threading.Event,
    tell: Listener,
    is_changed: bool,
) -> None:
    """Run the whole model with the records and without, if that is not the same."""
    if bench.judge is None or stop.is_set() or not is_changed:
        return
    left = options.seconds
    if left is not None:
        left = max(0.0, left - spent.seconds - finished.elapsed_s)
    tell(bench.judge(left))
