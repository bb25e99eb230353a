"""Schedule records to MetaSchedule's JSON database, for one model.

A record names its workload by a hash, MetaSchedule's database holds the kernel itself: so both ways
take the model, whose kernels the records are of. Layout and packing of weights were decided before;
plain TVM finds the schedules for kernels of the very same TIR.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.code_generation import choices_of, lower_graph
from compiler.families import family_build
from compiler.onnx_import.model import Model
from compiler.onnx_import.support import require_supported
from compiler.target_spec import TargetSpec
from compiler.tuning.folder import RecordError, read_lines
from compiler.tuning.metaschedule_files import FILES
from compiler.tuning.record import ScheduleRecord, Verdict
from compiler.tuning.store import Records, read_records
from compiler.tuning.target_key import target_key

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written, and records that have no place in such a database."""

    records: int
    workloads: int
    passed_over: tuple[str, ...]  # "record ID: why"


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
    rejected = {one.candidate: one.reason for one in known if isinstance(one, Verdict)}
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


def _not_exported(
    record: ScheduleRecord, func: Any, rejected: Mapping[tuple[str, str], str]
) -> str:
    """Why a record has no place in the database; "" if it has one."""
    if func is None:
        return f"the model has no kernel {record.workload} ({record.kernel})"
    if not record.is_usable:
        return f"its schedule {record.outcome}"
    if record.candidate in rejected:
        return f"its schedule was rejected: {rejected[record.candidate]}"
    if record.measurement.unit != "us":
        return f"measured in {record.measurement.unit}; the database knows seconds only"
    return ""


def _kernels(model: Model, spec: TargetSpec, records: Records, report: Report) -> dict[str, Any]:
    """The kernels of a build with the choices of `records`, not yet scheduled, by their hash."""
    from compiler.scheduling import workload_hash

    require_supported(model)
    lowering, spec = family_build(spec).lowering(model, spec, exact=False, precision="float32")
    graph = lower_graph(lowering, model, spec, None, report, choices_of(records))
    return {workload_hash(func): func for func in graph.workloads.functions.values()}
