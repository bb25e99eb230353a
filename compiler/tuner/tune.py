"""Tune a model for a target: the whole run, from the ONNX file to records that builds use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from compiler.code_generation import choices_of
from compiler.families import family_build
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.onnx_import.support import require_supported
from compiler.precision import require_precision
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.tuner.choice_phase import choice_phase
from compiler.tuner.events import Event, Listener
from compiler.tuner.judge import judge
from compiler.tuner.open_trials import RunnerOptions, open_builder, open_runner
from compiler.tuner.placement import Placement, anywhere, on, place
from compiler.tuner.result import TuningResult
from compiler.tuner.run import Bench, TuneOptions, run
from compiler.tuner.tasks import tuning_tasks
from compiler.tuner.trial import TrialRunner
from compiler.tuning.store import NO_RECORDS, read_records
from compiler.tuning.target_key import TargetKey, target_key

Report = Callable[[str], None]


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
    choices: bool = True,
    acceptance: bool = True,
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
        choices: first search algorithms and layouts of operators, in a quarter of the time (or
            trials); not if only some kernels are tuned.
        acceptance: at the end run the whole model with the records and without, in turns, and
            reject records that make it slower.
        listener: called with each event.
        report: called with the name of each step before the first trial.
        stop: once set, the run ends when what is in flight has ended; nothing is lost.

    Raises:
        CompilerError: the model cannot be lowered, nothing can be measured, ...
    """
    options = TuneOptions(
        seconds=seconds,
        trials=trials,
        stop_gain=stop_gain,
        kernels=kernels,
        seed=seed,
        resume=resume,
        jobs=jobs,
    )
    spec = target if isinstance(target, TargetSpec) else load_target(target)
    require_precision(spec, precision)
    threads = spec.cores.count if threads is None else threads
    key, placement, logs = target_key(spec, threads), place(threads), Path(log_dir)
    if not isinstance(model, Model):
        report("load")
        model = load_model(Path(model), shapes=shapes or {}, values=values or {})
    stop = stop or threading.Event()
    with ExitStack() as stack:
        # Before the model is lowered: a runner that is missing should be said at once.
        measures = stack.enter_context(
            open_runner(spec, runner or RunnerOptions(), threads, placement)
        )
        if measures.name != "native":
            placement = anywhere()
        stack.enter_context(on(placement.building))
        session_spec = spec.with_cores(threads)
        bench = _open_bench(
            stack, session_spec, measures, placement, options, exact=exact, precision=precision
        )
        if acceptance:
            judges = partial(judge, model, spec, logs, key, placement, exact, precision)
            bench = replace(bench, judge=judges)
        events: list[Event] = []
        if choices and kernels == "*":
            tell = _both(events.append, listener)
            options = _with_choices(
                model, session_spec, key, logs, bench, options, exact, precision, stop, tell, report
            )
        found = tuning_tasks(
            model,
            session_spec,
            exact=exact,
            precision=precision,
            kernels=kernels,
            choices=choices_of(read_records(logs, key) if logs.is_dir() else NO_RECORDS),
            report=report,
        )
        return run(model.name, found, key, logs, bench, options, listener, stop, events)


def _with_choices(
    model: Model,
    spec: TargetSpec,
    key: TargetKey,
    logs: Path,
    bench: Bench,
    options: TuneOptions,
    exact: bool,
    precision: Precision,
    stop: threading.Event,
    tell: Listener,
    report: Report,
) -> TuneOptions:
    """Search choices of operators; return the options with the trials that this took."""
    require_supported(model)
    lowering, spec = family_build(spec).lowering(model, spec, exact=exact, precision=precision)
    tried, failed = choice_phase(
        model,
        lowering,
        spec,
        key,
        logs,
        bench,
        seconds=options.seconds,
        trials=options.trials,
        stop=stop,
        tell=tell,
        report=report,
    )
    return replace(options, trials_before=tried, failed_before=failed)


def _both(first: Listener, second: Listener) -> Listener:
    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


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
