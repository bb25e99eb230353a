"""The entries of a database of MetaSchedule, read where a bad one does no harm."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from compiler.errors import CompilerError
from compiler.target_spec import TargetSpec
from compiler.tuner.worker_process import WorkerError, WorkerProcess, raised
from compiler.tuning.metaschedule_files import TUNING_RECORDS, WORKLOADS

_MODULE = "compiler.tuner.database_worker"
_WHOLE_S, _ENTRY_S = 300.0, 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberedEntry:
    """An entry by its number from 1; what was read, or why it could not be."""

    number: int
    entry: Any = None  # metaschedule_database.Entry
    problem: str = ""


def read_entries(folder: Path, spec: TargetSpec) -> tuple[NumberedEntry, ...]:
    """Return all entries, in a process of its own; one by one if an entry ends that process.

    TVM replays a schedule when it reads it, by code that a schedule made elsewhere may crash.

    Raises:
        RecordError: MetaSchedule cannot read the database.
    """
    try:
        found = _read(folder, spec, _WHOLE_S)
    except WorkerError:
        return _one_by_one(folder, spec)
    return tuple(NumberedEntry(number=number, entry=one) for number, one in enumerate(found, 1))


def _one_by_one(folder: Path, spec: TargetSpec) -> tuple[NumberedEntry, ...]:
    lines = (folder / TUNING_RECORDS).read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, 1):
        with TemporaryDirectory(prefix="tunesmith-import-") as one:
            shutil.copy(folder / WORKLOADS, one)
            (Path(one) / TUNING_RECORDS).write_text(line, encoding="utf-8")
            found.append(_alone(Path(one), spec, number))
    return tuple(found)


def _alone(folder: Path, spec: TargetSpec, number: int) -> NumberedEntry:
    try:
        (entry,) = _read(folder, spec, _ENTRY_S)
    except WorkerError as failure:
        problem = f"TVM does not survive reading it ({failure})"
        return NumberedEntry(number=number, problem=problem)
    except CompilerError as failure:
        return NumberedEntry(number=number, problem=failure.why)
    return NumberedEntry(number=number, entry=entry)


def _read(folder: Path, spec: TargetSpec, timeout_s: float) -> tuple[Any, ...]:
    process = WorkerProcess(_MODULE, spec)
    try:
        answer = process.ask(folder, timeout_s=timeout_s)
    finally:
        process.close()
    entries: tuple[Any, ...] = raised(answer)
    return entries
