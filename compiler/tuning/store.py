"""Which records a build uses: the best of exactly its target and tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compiler.tuning.folder import read_file, read_lines, record_files
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.target_key import TargetKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """The best schedule record for each workload, and what was passed over."""

    schedules: Mapping[str, ScheduleRecord] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()  # "file:line: why"
    stale: tuple[TargetKey, ...] = ()  # of the same machine, by other versions of the tools


NO_RECORDS = Records()


def read_records(folder: Path, key: TargetKey) -> Records:
    """Return the records for exactly this fingerprint; others are never used by a build.

    A line that does not check is passed over and named in the result.

    Raises:
        RecordError: the folder is not there.
    """
    lines = list(read_lines(folder, fingerprint=key.fingerprint))
    return Records(
        schedules=best_schedules(line.record for line in lines if line.record is not None),
        passed_over=tuple(line.complaint for line in lines if line.record is None),
        stale=_stale_keys(folder, key),
    )


def best_schedules(records: Iterable[ScheduleRecord]) -> dict[str, ScheduleRecord]:
    """Return the best usable record of each workload.

    A schedule that once gave wrong numbers or crashed is not used, whatever other records say.
    """
    known = list(records)
    failed = {(one.workload, one.trace_id) for one in known if one.outcome in _NEVER_AGAIN}
    best: dict[str, ScheduleRecord] = {}
    for record in known:
        if not record.is_usable or (record.workload, record.trace_id) in failed:
            continue
        other = best.get(record.workload)
        if other is None or rank(record) < rank(other):
            best[record.workload] = record
    return best


_NEVER_AGAIN = ("wrong-numbers", "crashed")


def rank(record: ScheduleRecord) -> tuple[bool, bool, float, str]:
    """Return what orders records of one workload, best first.

    Times on the machine itself come before counted instructions, which only stand for them. What
    was measured in turns with the default schedule comes before what was measured alone, which a
    lucky moment may have made fast, and is judged by its share of the default's time: the machine
    may have been slower that day. The id decides between equals.
    """
    measured = record.measurement
    alone = measured.reference is None
    figure = measured.typical / (measured.reference or 1.0)
    return measured.unit != "us", alone, figure, record.id


def _stale_keys(folder: Path, key: TargetKey) -> tuple[TargetKey, ...]:
    """Keys of the same machine and threads by other tools; a folder's first record tells."""
    found: dict[str, TargetKey] = {}
    for file in record_files(folder):
        fingerprint = file.parent.name
        if fingerprint == key.fingerprint or fingerprint in found:
            continue
        first = next((line.record for line in read_file(folder, file) if line.record), None)
        if first is not None:
            found[fingerprint] = first.target
    return tuple(other for _, other in sorted(found.items()) if other.machine == key.machine)
