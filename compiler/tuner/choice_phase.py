"""The first part of a run: algorithms and layouts, by the times of the kernels that they make."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from compiler.code_generation import GraphVariants, Lowering
from compiler.errors import UnsupportedError
from compiler.onnx_import.model import Model
from compiler.target_spec import TargetSpec
from compiler.tuner.choices import ChoiceSearch, search_choices
from compiler.tuner.events import ChoiceTried, Listener
from compiler.tuner.run import Bench
from compiler.tuner.tasks import TaskList, default_schedule
from compiler.tuner.trial import Built, Candidate, Measured, TuningTask
from compiler.tuner.trial_log import TrialLog
from compiler.tuning.folder import read_lines
from compiler.tuning.record import ChoiceRecord, Record, ScheduleRecord, choice_text
from compiler.tuning.store import best_schedules, is_gain
from compiler.tuning.target_key import TargetKey
from compiler.tuning.writer import RecordWriter

# Of all time, or trials, of a run.
SHARE = 0.25
# Where there is no limit in time.
_LONGEST_S = 300.0


def choice_phase(
    model: Model,
    lowering: Lowering,
    spec: TargetSpec,
    key: TargetKey,
    folder: Path,
    bench: Bench,
    *,
    seconds: float | None,
    trials: int | None,
    stop: threading.Event,
    tell: Listener,
    report: Callable[[str], None],
) -> tuple[int, int]:
    """Try choices of the graph's operators and append what was found; return trials and failures.

    Kernels are timed by their best known schedule, else by the default one, which is a trial of it.

    Args:
        spec: as `lowering` was made for, with the cores of a session.
        seconds, trials: limits of the whole run; the phase takes a share of them.
    """
    known = _known(folder, key)
    limit = math.inf if trials is None else max(1, round(SHARE * trials))
    deadline = time.monotonic() + (_LONGEST_S if seconds is None else SHARE * seconds)
    with RecordWriter(folder, key) as writer:
        log = TrialLog(key=key, writer=writer, runner=bench.runner)
        timer = KernelTimer(bench, log, known, spec, lowering)
        search = ChoiceSearch(
            model=model,
            variants=GraphVariants(lowering, model, spec),
            key=key,
            time_of=timer.time_of,
            prepare=timer.prepare,
            unit=bench.runner.unit,
            runner=bench.runner.name,
            conditions=bench.runner.conditions,
            deadline_s=deadline,
            known=known,
            report=report,
        )
        for record in search_choices(search):
            writer.append(record)
            tell(_event(record))
            if stop.is_set() or timer.trials >= limit:
                break
    return timer.trials, timer.failed


class KernelTimer:
    """Times kernels for a search over graphs, each by its best known schedule."""

    def __init__(
        self,
        bench: Bench,
        log: TrialLog,
        known: Sequence[Record],
        spec: TargetSpec,
        lowering: Lowering,
    ) -> None:
        self._bench, self._log = bench, log
        self._best = best_schedules(known)
        self._failed = {
            one.candidate
            for one in known
            if isinstance(one, ScheduleRecord) and one.outcome != "passed"
        }
        self._tried = {one.candidate for one in known if isinstance(one, ScheduleRecord)}
        self._defaults = TaskList(
            tasks=(), facts={}, spec=spec, rules=lowering.rules, target=lowering.target
        )
        self._built: dict[str, tuple[Candidate, Future[Built]]] = {}  # by workload
        self.trials = self.failed = 0

    def prepare(self, tasks: Sequence[TuningTask]) -> None:
        """Begin to build what will be asked for."""
        for task in tasks:
            self._begin(task)

    def time_of(self, task: TuningTask) -> float:
        """Measure one call of a kernel; infinity if it cannot be built or is wrong.

        What was not tried before becomes a record.
        """
        begun = self._begin(task)
        if begun is None:
            return math.inf
        candidate, building = begun
        built = building.result()
        trial: Built | Measured = built
        if built.kernel is not None:
            try:
                data = self._bench.data_of(task)
            except Exception:  # of this kernel, whatever it is: it cannot be judged
                return math.inf
            trial = self._bench.runner.measure(built.kernel, data)
        return self._noted(candidate, trial)

    def _noted(self, candidate: Candidate, trial: Built | Measured) -> float:
        record = self._log.record(candidate, trial)
        if record.candidate not in self._tried:
            self._tried.add(record.candidate)
            self._log.append(record)
            self.trials += record.is_usable
            self.failed += not record.is_usable
        return record.measurement.typical

    def _begin(self, task: TuningTask) -> tuple[Candidate, Future[Built]] | None:
        if task.workload not in self._built:
            candidate = self._candidate(task)
            if candidate is None:
                return None
            self._built[task.workload] = candidate, self._bench.builder.submit(candidate)
        return self._built[task.workload]

    def _candidate(self, task: TuningTask) -> Candidate | None:
        from compiler.scheduling import trace_json

        best = self._best.get(task.workload)
        if best is not None:
            return Candidate(task=task, trace=best.trace, rule=best.rule)
        try:
            default = default_schedule(task, self._defaults)
        except UnsupportedError:
            return None
        return Candidate(task=task, trace=trace_json(default.schedule), rule=default.rule)


def _known(folder: Path, key: TargetKey) -> list[Record]:
    if not folder.is_dir():
        return []
    lines = read_lines(folder, fingerprint=key.fingerprint)
    return [line.record for line in lines if line.record is not None]


def _event(record: ChoiceRecord) -> ChoiceTried:
    passed = record.is_usable
    return ChoiceTried(
        signature=record.signature,
        choice=choice_text(record.choice),
        outcome=record.outcome,
        value=record.measurement.typical if passed else None,
        default=record.default.typical if record.default.values else None,
        operators=record.operators,
        is_gain=passed and is_gain(record),
    )
