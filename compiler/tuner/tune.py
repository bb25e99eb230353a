"""Tune a model for a target: the whole run, from the ONNX file to records that builds use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.precision import require_precision
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.tuner.cost_model import CostModel
from compiler.tuner.events import Event, Finished, Judged, Listener, Started
from compiler.tuner.open_trials import RunnerOptions, open_builder, open_runner
from compiler.tuner.placement import Placement, on, place
from compiler.tuner.result import TuningResult
from compiler.tuner.run_state import Spent, forget, read_spent, run_file, write_spent
from compiler.tuner.session import SessionOptions, TuningSession
from compiler.tuner.tasks import TaskList, tuning_tasks
from compiler.tuner.transfer import sources
from compiler.tuner.trial import KernelData, TrialRunner, TuningTask
from compiler.tuner.trial_line import Builder, TrialLine
from compiler.tuner.trial_log import TrialLog, known_records
from compiler.tuning.target_key import TargetKey, target_key
from compiler.tuning.writer import RecordWriter

Report = Callable[[str], None]
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What builds, measures and judges; tests put others here."""

    builder: Builder
    runner: TrialRunner
    data_of: Callable[[TuningTask], KernelData]
    judge: Callable[[float | None], Judged] | None = None  # given the seconds that are left
    depth: int = 4


def tune(
    model: str | Path | Model,
    *,
    target: str | Path | TargetSpec,
    log_dir: str | Path = "tuning_logs",
    seconds: float | None = None,
    trials: int | None = None,
    stop_gain: float = 0.005,
    kernels: str = "*",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, float | int | bool] | None = None,
    threads: int | None = None,
    exact: bool = False,
    precision: Precision = "float32",
    runner: RunnerOptions | None = None,
    jobs: int | None = None,
    seed: int = 0,
    resume: bool = False,
    listener: Listener = lambda _: None,
    report: Report = lambda _: None,
    stop: threading.Event | None = None,
) -> TuningResult:
    """Search faster schedules for a model's kernels; keep all that is measured as records.

    Args:
        target: a target's name, the path of a spec, or a spec.
        log_dir: the folder of records; `compile(records=...)` takes it.
        seconds: of the whole run, all resumptions together; None: no limit.
        trials: candidates that pass, at most; None: no limit.
        stop_gain: end when less than that share of the model's time is expected to be gained.
        kernels: only kernels with such names (shell wildcards).
        shapes, values, threads, exact, precision: as of `compile`; records belong to `threads`.
        runner: where candidates are measured; as the target says if None.
        jobs: processes that build; None: as many as there are processors that do not measure.
        seed: of what is drawn: operands and candidates.
        resume: count what an interrupted run of the same kernels had spent. Its records, and all
            others of this target, are known with or without.
        listener: called with each event.
        report: called with the name of each step before the first trial.
        stop: once set, the run ends when what is in flight has ended; nothing is lost.

    Raises:
        CompilerError: the model cannot be lowered, nothing can be measured, ...
    """
    spec = target if isinstance(target, TargetSpec) else load_target(target)
    require_precision(spec, precision)
    threads = spec.cores.count if threads is None else threads
    key, placement = target_key(spec, threads), place(threads)
    if not isinstance(model, Model):
        report("load")
        model = load_model(Path(model), shapes=shapes or {}, values=values or {})
    options = TuneOptions(
        seconds=seconds,
        trials=trials,
        stop_gain=stop_gain,
        kernels=kernels,
        seed=seed,
        resume=resume,
        jobs=jobs,
    )
    with ExitStack() as stack:
        # Before the model is lowered: a runner that is missing should be said at once.
        measures = stack.enter_context(
            open_runner(spec, runner or RunnerOptions(), threads, placement)
        )
        stack.enter_context(on(placement.building))
        found = tuning_tasks(
            model,
            spec.with_cores(threads),
            exact=exact,
            precision=precision,
            kernels=kernels,
            report=report,
        )
        bench = _open_bench(
            stack,
            spec.with_cores(threads),
            measures,
            placement,
            options,
            exact=exact,
            precision=precision,
        )
        return run(model.name, found, key, Path(log_dir), bench, options, listener, stop)


def _open_bench(
    stack: ExitStack,
    spec: TargetSpec,
    runner: TrialRunner,
    placement: Placement,
    options: TuneOptions,
    *,
    exact: bool,
    precision: Precision,
) -> Bench:
    from compiler.tuner.kernel_data import KernelDataSource

    jobs = options.jobs or placement.count
    builder = open_builder(spec, exact=exact, precision=precision, jobs=jobs, placement=placement)
    source = KernelDataSource(options.seed, precision=precision, cpus=placement.building)
    return Bench(
        builder=stack.enter_context(builder),
        runner=runner,
        data_of=stack.enter_context(source).data,
        depth=jobs + runner.slots + 1,
    )


def run(
    model_name: str,
    found: TaskList,
    key: TargetKey,
    log_dir: Path,
    bench: Bench,
    options: TuneOptions,
    listener: Listener,
    stop: threading.Event | None = None,
) -> TuningResult:
    """Tune tasks that are known, with what builds and measures at hand."""
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        listener(event)

    folder = log_dir / key.name / key.fingerprint
    state = run_file(folder, found.tasks)
    spent = (read_spent(state) if options.resume else None) or Spent()
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
    _judge(bench, options, finished, spent, stop, tell)
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
        spent=spent,
    )


def _judge(
    bench: Bench,
    options: TuneOptions,
    finished: Finished,
    spent: Spent,
    stop: threading.Event,
    tell: Listener,
) -> None:
    """Run the whole model with the records and without, where that can be timed."""
    if bench.judge is None or stop.is_set():
        return
    left = options.seconds
    if left is not None:
        left = max(0.0, left - spent.seconds - finished.elapsed_s)
    tell(bench.judge(left))
