"""Schedule records from MetaSchedule's JSON database, each checked before it is kept.

Nobody here made these schedules. So they are replayed, compiled and run alone in processes of their
own, and one that crashes or hangs there takes nothing else with it; then a build of the model with
those that passed is compared with onnxruntime, kernel by kernel, in another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.code_generation import choices_of
from compiler.errors import NotRunnableError
from compiler.onnx_import.model import Model
from compiler.pipeline import compile as compile_model
from compiler.record_exchange import Report
from compiler.target_spec import TargetSpec, runs_here
from compiler.tuner.database_entries import NumberedEntry, read_entries
from compiler.tuner.model_process import ModelProcess
from compiler.tuner.schedule_trials import ScheduleTrials
from compiler.tuner.tasks import tuning_tasks
from compiler.tuner.trial import TuningTask
from compiler.tuner.worker_process import WorkerError, WorkerTimedOutError
from compiler.tuning.folder import RecordError
from compiler.tuning.metaschedule_files import FILES
from compiler.tuning.record import ChoiceRecord, Measurement, ScheduleRecord
from compiler.tuning.store import NO_RECORDS, rank, read_records
from compiler.tuning.target_key import TargetKey, target_key
from compiler.tuning.writer import RecordWriter
from compiler.verification.result import Status

# Of a whole model, whose kernels have all run before: what hangs was found out there.
_CHECK_S = 1800.0
_Candidates = dict[str, list[ScheduleRecord]]  # by workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What was kept, and entries that were not."""

    records: int
    # Cannot be built, are wrong, crash or hang: kept as such, so that no search tries them again.
    failed: int
    passed_over: tuple[str, ...]  # "entry N: why", those that failed too


def import_records(
    database: Path,
    model: Model,
    spec: TargetSpec,
    folder: Path,
    *,
    threads: int | None = None,
    report: Report = lambda _: None,
) -> Imported:
    """Append the best schedule of each of the model's kernels that a database knows to `folder`.

    Each is replayed, compiled, run and its numbers are compared first, in the target's runner and
    in processes of their own; where the best one fails, the next best is tried.

    Raises:
        RecordError: there is no such database, or no runner to check what is in it.
    """
    for name in FILES:
        if not (database / name).is_file():
            raise RecordError(
                f"{database} is no database of MetaSchedule",
                why=f"it has no file {name}",
                fix=f"name the folder that has {' and '.join(FILES)}",
            )
    key = target_key(spec, threads)
    known = read_records(folder, key) if folder.is_dir() else NO_RECORDS
    session_spec = spec.with_cores(key.threads)
    tasks = tuning_tasks(model, session_spec, choices=choices_of(known), report=report).tasks
    report("read entries")
    entries = read_entries(database, session_spec)
    candidates, numbers, passed_over = _sorted_out(entries, tasks, key)
    if not candidates:
        return Imported(records=0, failed=0, passed_over=tuple(passed_over))
    tried = _tried_alone(candidates, session_spec, key, tasks, report)
    slower = sum(map(len, candidates.values())) - len(tried)
    if slower:
        passed_over.append(f"{slower} entries: another of the same kernel is faster")
    good = [one for one in tried if one.outcome == "passed"]
    with ModelProcess(model) as process:
        chosen = list(known.choices.values())
        judged = _WholeModel(model, spec, key, chosen, process, report).judged(good)
    failed = [one for one in [*tried, *judged] if one.outcome != "passed"]
    passed_over += [
        f"entry {numbers[one.candidate]}: {one.kernel}: {one.outcome}: {one.reason}"
        for one in failed
    ]
    passed = [one for one in judged if one.outcome == "passed"]
    with RecordWriter(folder, key) as writer:
        for record in [*passed, *failed]:
            writer.append(record)
    return Imported(records=len(passed), failed=len(failed), passed_over=tuple(passed_over))


def _sorted_out(
    entries: Sequence[NumberedEntry], tasks: Sequence[TuningTask], key: TargetKey
) -> tuple[_Candidates, Mapping[tuple[str, str], int], list[str]]:
    """Candidates, best first; their entries' numbers; and what is none, with the reason."""
    kernels = {task.workload: task.kernel for task in tasks}
    candidates: _Candidates = {}
    numbers: dict[tuple[str, str], int] = {}
    passed_over = []
    for one in entries:
        problem = one.problem or one.entry.problem
        if problem or one.entry.workload not in kernels:
            reason = problem or f"the model has no kernel {one.entry.workload}"
            passed_over.append(f"entry {one.number}: {reason}")
            continue
        record = ScheduleRecord(
            target=key,
            workload=one.entry.workload,
            kernel=kernels[one.entry.workload],
            rule="",
            trace=one.entry.trace,
            outcome="passed",
            measurement=Measurement(unit="us", values=one.entry.times_us, runner="metaschedule"),
        )
        numbers.setdefault(record.candidate, one.number)
        candidates.setdefault(record.workload, []).append(record)
    for records in candidates.values():
        records.sort(key=rank)
    return candidates, numbers, passed_over


def _tried_alone(
    candidates: _Candidates,
    spec: TargetSpec,
    key: TargetKey,
    tasks: Sequence[TuningTask],
    report: Report,
) -> list[ScheduleRecord]:
    """What became of those that were tried: of each kernel the last one may have passed."""
    if spec.family == "gpu":  # there is no trial of one kernel: the whole model's check must do
        return [records[0] for records in candidates.values()]
    if spec.runner.kind == "native" and not runs_here(spec):
        raise _not_checked(spec, "its code does not run on this machine")
    report("try each kernel")
    try:
        with ScheduleTrials(spec, key.threads, tasks) as trials:
            return [one for records in candidates.values() for one in trials.tried(records)]
    except NotRunnableError as refusal:
        raise _not_checked(spec, f"{refusal.what}: {refusal.why}") from refusal


def _not_checked(spec: TargetSpec, why: str) -> RecordError:
    return RecordError(
        f"schedules for {spec.name} cannot be checked here",
        why=f"this machine cannot run them: {why}",
        fix="import them on a machine that can, or name a board in the target's [runner]",
    )


class _WholeModel:
    """A build of the model with records, whose kernels are compared with onnxruntime's."""

    def __init__(
        self,
        model: Model,
        spec: TargetSpec,
        key: TargetKey,
        choices: Sequence[ChoiceRecord],
        process: ModelProcess,
        report: Report,
    ) -> None:
        self._model, self._spec, self._key, self._choices = model, spec, key, choices
        self._process, self._report = process, report

    def judged(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord]:
        """The records with their outcomes; by parts of them where the check ends its process.

        Raises:
            RecordError: it does that without any of them, too, or nothing here runs the target.
        """
        try:
            return self._compared(records) if records else []
        except WorkerError as failure:
            try:
                self._compared([])
            except WorkerError as cause:
                raise _not_checked(
                    self._spec, f"{self._model.name} crashes or hangs without them: {cause}"
                ) from cause
            return self._parts(records, failure)

    def _parts(
        self, records: Sequence[ScheduleRecord], failure: WorkerError
    ) -> list[ScheduleRecord]:
        if len(records) == 1:
            late = isinstance(failure, WorkerTimedOutError)
            reason = f"in {self._model.name}: {failure}"
            return [replace(records[0], outcome="timed-out" if late else "crashed", reason=reason)]
        middle = len(records) // 2
        found: list[ScheduleRecord] = []
        for part in (records[:middle], records[middle:]):
            try:
                found += self._compared(part)
            except WorkerError as again:
                found += self._parts(part, again)
        return found

    def _compared(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord]:
        with TemporaryDirectory(prefix="tunesmith-import-") as work:
            logs, output = Path(work) / "logs", Path(work) / "out"
            with RecordWriter(logs, self._key) as writer:
                for record in records:
                    writer.append(record)
                for choice in self._choices:
                    writer.append(choice)
            artifact = compile_model(
                self._model,
                target=self._spec,
                output=output,
                threads=self._key.threads,
                records=logs,
                verify="skip",
                report=self._report,
            )
            self._report("verify")
            result = self._process.check(output, per_kernel=True, timeout_s=_CHECK_S)
            if result.status is Status.NOT_RUN:
                raise _not_checked(self._spec, result.reason)
            used = {call["kernel"]: call["schedule"] for call in artifact.report()["kernels"]}
        wrong = {kernel.kernel for kernel in result.kernels if not kernel.passed}
        return [_judged(record, used.get(record.kernel, {}), wrong) for record in records]


def _judged(record: ScheduleRecord, used: Mapping[str, str], wrong: set[str]) -> ScheduleRecord:
    """The record with what became of it in a build.

    Args:
        used: where the schedule of its kernel came from.
        wrong: kernels whose numbers are wrong.
    """
    if used.get("name") != record.id:
        reason = used.get("reason", "the kernel is not called")
        return replace(record, outcome="not-built", reason=reason)
    if record.kernel in wrong:
        reason = "its numbers are not onnxruntime's"
        return replace(record, outcome="wrong-numbers", reason=reason)
    return record
