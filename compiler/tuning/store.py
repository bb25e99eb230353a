"""Read the records of one target: ``FOLDER/<target>/<fingerprint>/*.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from compiler.errors import CompilerError
from compiler.tuning.record import ScheduleRecord, from_line


class RecordError(CompilerError):
    """A folder of tuning records cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """The best schedule record for each workload, and the lines that were passed over."""

    schedules: Mapping[str, ScheduleRecord] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()  # "file:line: why"


NO_RECORDS = Records()


def read_records(folder: Path, fingerprint: str) -> Records:
    """Return the records for exactly this fingerprint; others are never used by a build.

    A line that does not check is passed over and named in the result.

    Raises:
        RecordError: the folder is not there.
    """
    if not folder.is_dir():
        raise RecordError(
            f"{folder} is not a folder of tuning records",
            why="it does not exist or is a file",
            fix="give a folder such as tuning_logs, or --records none",
        )
    best: dict[str, ScheduleRecord] = {}
    bad: list[str] = []
    for path in sorted(folder.glob(f"*/{fingerprint}/*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                record = from_line(line)
                _refuse_foreign(record, fingerprint)
            except ValueError as problem:
                bad.append(f"{path.relative_to(folder)}:{number}: {problem}")
                continue
            known = best.get(record.workload)
            if known is None or _rank(record) < _rank(known):
                best[record.workload] = record
    return Records(schedules=best, passed_over=tuple(bad))


def _refuse_foreign(record: ScheduleRecord, fingerprint: str) -> None:
    if record.fingerprint != fingerprint:
        raise ValueError("a record of another target in this target's folder")
    if not record.times_us:
        raise ValueError("no measured time")


def _rank(record: ScheduleRecord) -> tuple[float, str]:
    return median(record.times_us), record.id  # the id decides between equal times
