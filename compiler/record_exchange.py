"""Schedule records to and from MetaSchedule's JSON database, for one model.

A record names its workload by a hash, MetaSchedule's database holds the kernel itself: so both ways
take the model, whose kernels the records are of. Layout and packing of weights were decided before;
plain TVM finds the schedules for kernels of the very same TIR.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.code_generation import choices_of, lower_graph
from compiler.families import family_build
from compiler.onnx_import.model import Model
from compiler.onnx_import.support import require_supported
from compiler.pipeline import compile as compile_model
from compiler.target_spec import TargetSpec
from compiler.tuning.folder import RecordError, read_lines
from compiler.tuning.record import ChoiceRecord, Measurement, ScheduleRecord, Verdict
from compiler.tuning.store import NO_RECORDS, Records, best_schedules, read_records
from compiler.tuning.target_key import TargetKey, target_key
from compiler.tuning.writer import RecordWriter
from compiler.verification.result import Status
from compiler.verify import check

FILES = ("database_workload.json", "database_tuning_record.json")  # MetaSchedule's names
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written, and records that have no place in such a database."""

    records: int
    workloads: int
    passed_over: tuple[str, ...]  # "record ID: why"


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What was kept, and entries that were not."""

    records: int
    failed: int  # whose numbers are wrong: kept as such, so that no search tries them again
    passed_over: tuple[str, ...]  # "entry N: why"


def export_records(
    model: Model,
    spec: TargetSpec,
    folder: Path,
    database: Path,
    *,
    threads: int | None = None,
    report: Report = lambda _: None,
) -> Exported:
    """Write the usable records of a model's kernels into a new database.

    Raises:
        RecordError: there is a database already, or no such folder of records.
    """
    key = target_key(spec, threads)
    for name in FILES:
        if (database / name).exists():
            raise RecordError(
                f"{database / name} is there already",
                why="its entries would be mixed with the exported ones",
                fix="name another folder",
            )
    lines = list(read_lines(folder, fingerprint=key.fingerprint))
    kernels = _kernels(model, spec.with_cores(key.threads), read_records(folder, key), report)
    from compiler.metaschedule_database import DatabaseWriter

    database.mkdir(parents=True, exist_ok=True)
    report("records")
    writer = DatabaseWriter(database, spec.with_cores(key.threads))
    written, passed_over = [], []
    known = [line.record for line in lines if line.record is not None]
    rejected = {one.candidate for one in known if isinstance(one, Verdict)}
    for record in known:
        if not isinstance(record, ScheduleRecord):
            passed_over.append(f"record {record.id}: a {record.kind}, which the database has not")
            continue
        func = kernels.get(record.workload)
        problem = _not_exported(record, func, rejected) or writer.add(func, record)
        if problem:
            passed_over.append(f"record {record.id}: {problem}")
        else:
            written.append(record.workload)
    return Exported(
        records=len(written), workloads=len(set(written)), passed_over=tuple(passed_over)
    )


def _not_exported(record: ScheduleRecord, func: Any, rejected: set[tuple[str, str]]) -> str:
    if func is None:
        return f"the model has no kernel {record.workload} ({record.kernel})"
    if not record.is_usable:
        return f"its schedule {record.outcome}"
    if record.candidate in rejected:
        return "its schedule was rejected: a whole model is slower with it"
    if record.measurement.unit != "us":
        return f"measured in {record.measurement.unit}; the database knows seconds only"
    return ""


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

    Each is replayed, compiled and its numbers are compared with onnxruntime's first, kernel by
    kernel, in the target's runner.

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
    kernels = _kernels(model, spec.with_cores(key.threads), known, report)
    from compiler.metaschedule_database import read_database

    candidates: list[ScheduleRecord] = []
    passed_over = []
    for number, entry in enumerate(read_database(database, spec.with_cores(key.threads)), start=1):
        kernel = kernels.name_of(entry.workload)
        if entry.problem or kernel is None:
            reason = entry.problem or f"the model has no kernel {entry.workload}"
            passed_over.append(f"entry {number}: {reason}")
        else:
            candidates.append(_candidate(key, entry, kernel))
    best = best_schedules(candidates)
    if len(best) < len(candidates):
        slower = len(candidates) - len(best)
        passed_over.append(f"{slower} entries: another of the same kernel is faster")
    chosen = list(known.choices.values())
    checked = _checked(list(best.values()), chosen, model, spec, key, report) if best else []
    with RecordWriter(folder, key) as writer:
        for record in checked:
            writer.append(record)
    passed = sum(record.outcome == "passed" for record in checked)
    return Imported(records=passed, failed=len(checked) - passed, passed_over=tuple(passed_over))


def _candidate(key: TargetKey, entry: Any, kernel: str) -> ScheduleRecord:
    measurement = Measurement(unit="us", values=entry.times_us, runner="metaschedule")
    return ScheduleRecord(
        target=key,
        workload=entry.workload,
        kernel=kernel,
        rule="",
        trace=entry.trace,
        outcome="passed",
        measurement=measurement,
    )


def _checked(
    records: list[ScheduleRecord],
    choices: list[ChoiceRecord],
    model: Model,
    spec: TargetSpec,
    key: TargetKey,
    report: Report,
) -> list[ScheduleRecord]:
    """Build the model with these schedules and choices and judge each kernel by itself."""
    with tempfile.TemporaryDirectory() as work:
        logs, output = Path(work) / "logs", Path(work) / "out"
        with RecordWriter(logs, key) as writer:
            for record in records:
                writer.append(record)
            for choice in choices:
                writer.append(choice)
        artifact = compile_model(
            model,
            target=spec,
            output=output,
            threads=key.threads,
            records=logs,
            verify="skip",
            report=report,
        )
        report("verify")
        result = check(output, model, per_kernel=True)
        if result.status is Status.NOT_RUN:
            raise RecordError(
                f"schedules for {spec.name} cannot be checked here",
                why=f"this machine cannot run them: {result.reason}",
                fix="import them on a machine that can, or name a board in the target's [runner]",
            )
        used = {call["kernel"]: call["schedule"] for call in artifact.report()["kernels"]}
        wrong = {kernel.kernel for kernel in result.kernels if not kernel.passed}
        checked = []
        for record in records:
            schedule = used.get(record.kernel, {})
            if schedule.get("name") != record.id:
                reason = str(schedule.get("reason", "the kernel is not called"))
                checked.append(replace(record, outcome="not-built", reason=reason))
            elif record.kernel in wrong:
                reason = "its numbers are not onnxruntime's"
                checked.append(replace(record, outcome="wrong-numbers", reason=reason))
            else:
                checked.append(record)
        return checked


class _Kernels:
    """The kernels of a model, not yet scheduled, by their hash."""

    def __init__(self, functions: dict[str, Any]) -> None:
        from compiler.scheduling import workload_hash

        self._named = {workload_hash(func): (name, func) for name, func in functions.items()}

    def get(self, workload: str) -> Any:
        return self._named[workload][1] if workload in self._named else None

    def name_of(self, workload: str) -> str | None:
        return self._named[workload][0] if workload in self._named else None


def _kernels(model: Model, spec: TargetSpec, records: Records, report: Report) -> _Kernels:
    """The kernels of a build with the choices of `records`."""
    require_supported(model)
    lowering, spec = family_build(spec).lowering(model, spec, exact=False, precision="float32")
    graph = lower_graph(lowering, model, spec, None, report, choices_of(records))
    return _Kernels(graph.workloads.functions)
