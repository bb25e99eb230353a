"""MetaSchedule's JSON database: the only part that touches TVM's tuner, whose names move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Trace
from tvm.tirx import PrimFunc

from compiler.scheduling import trace_json, workload_hash
from compiler.target_spec import TargetSpec
from compiler.tuning.folder import RecordError
from compiler.tuning.record import ScheduleRecord
from compiler.tvm_target import tvm_target

# What code depends on. Others (number of cores, tags) are not part of every database's targets.
_TARGET_FACTS = ("kind", "mtriple", "mcpu", "mattr", "mfloat-abi", "mabi", "arch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One record of a database, its schedule replayed; or why it is none for this target."""

    workload: str
    trace: list[Any]
    times_us: tuple[float, ...]
    problem: str = ""


class DatabaseWriter:
    """Appends to a database that MetaSchedule can open."""

    def __init__(self, folder: Path, spec: TargetSpec) -> None:
        self._database = ms.database.JSONDatabase(work_dir=str(folder))
        self._target = tvm_target(spec)

    def add(self, func: PrimFunc, record: ScheduleRecord) -> str:
        """Write a record of the kernel `func`; return why not, if its trace cannot be replayed."""
        mod = IRModule({"main": func.with_attr("global_symbol", "main")})
        schedule = Schedule(mod)
        try:
            Trace.apply_json_to_schedule(record.trace, schedule)
        except Exception as failure:  # TVM raises many kinds
            return f"it cannot be replayed ({_first_line(failure)})"
        self._database.commit_tuning_record(
            ms.database.TuningRecord(
                schedule.trace,
                self._database.commit_workload(mod),
                [value * 1e-6 for value in record.measurement.values],
                self._target,
            )
        )
        return ""


def read_database(folder: Path, spec: TargetSpec) -> Iterator[Entry]:
    """Yield the records of a database.

    Raises:
        RecordError: MetaSchedule cannot read it.
    """
    try:
        database = ms.database.JSONDatabase(work_dir=str(folder), allow_missing=False)
        found = list(database.get_all_tuning_records())
    except Exception as failure:  # TVM raises many kinds
        raise RecordError(
            f"{folder} cannot be read",
            why=f"MetaSchedule says: {_first_line(failure)}",
            fix="write the database again, by the TVM that is installed here",
        ) from failure
    target = _facts(tvm_target(spec))
    for record in found:
        yield _entry(record, target)


def _entry(record: Any, target: dict[str, Any]) -> Entry:
    mod = record.workload.mod
    functions = [func for _, func in mod.functions_items()]
    if len(functions) != 1 or not isinstance(functions[0], PrimFunc):
        return _refused("", "its module is not one kernel")
    workload = workload_hash(functions[0])
    if record.target is None or _facts(record.target) != target:
        return _refused(workload, f"it is for another target ({_named(record.target)})")
    times = tuple(float(second) * 1e6 for second in record.run_secs or ())
    if not times or not all(
        0 < time < 1e9 for time in times
    ):  # MetaSchedule marks failures by 1e10
        return _refused(workload, "it has no measured time")
    schedule = Schedule(IRModule({"main": functions[0]}))
    try:
        record.trace.apply_to_schedule(schedule, remove_postproc=False)
    except Exception as failure:  # TVM raises many kinds
        return _refused(workload, f"it cannot be replayed ({_first_line(failure)})")
    return Entry(workload=workload, trace=trace_json(schedule), times_us=times)


def _refused(workload: str, problem: str) -> Entry:
    return Entry(workload=workload, trace=[[], []], times_us=(), problem=problem)


def _facts(target: tvm.target.Target) -> dict[str, Any]:
    exported = target.export()
    facts = {name: exported[name] for name in _TARGET_FACTS if name in exported}
    return {
        name: str(value) if isinstance(value, str) else sorted(map(str, value))
        for name, value in facts.items()
    }


def _named(target: tvm.target.Target | None) -> str:
    if target is None:
        return "none is given"
    facts = _facts(target)
    return " ".join(
        str(facts[name]) for name in ("kind", "mtriple", "mcpu", "arch") if name in facts
    )


def _first_line(failure: Exception) -> str:
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__
