"""What a folder of records holds, target by target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compiler.tuning.folder import Line, misplaced_files, read_lines
from compiler.tuning.record import Record, Verdict
from compiler.tuning.store import best_choices, best_schedules
from compiler.tuning.target_key import TargetKey, is_stale


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSummary:
    """The records of one fingerprint."""

    key: TargetKey
    records: int
    workloads: int  # that a build would find a schedule for
    choices: int  # signatures of operators that a build would choose for by a record
    failed: int
    rejected: int  # schedules and choices that made a whole model slower
    files: int
    is_stale: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A folder's targets, and what in it is no record."""

    targets: tuple[TargetSummary, ...]
    complaints: tuple[str, ...]  # "file:line: why"


def summarize(folder: Path) -> Summary:
    """Read every line of a folder.

    Raises:
        RecordError: there is no such folder.
    """
    lines: dict[str, list[tuple[Line, Record]]] = {}
    complaints = [line.complaint for line in read_lines(folder) if line.record is None]
    for line in read_lines(folder):
        if line.record is not None:
            lines.setdefault(line.record.target.fingerprint, []).append((line, line.record))
    complaints += [
        f"{file.as_posix()}: not in a folder <target>/<fingerprint>, so no build reads it"
        for file in misplaced_files(folder)
    ]
    targets = sorted(
        map(_summary, lines.values()), key=lambda one: (one.key.name, one.key.fingerprint)
    )
    return Summary(targets=tuple(targets), complaints=tuple(complaints))


def _summary(lines: list[tuple[Line, Record]]) -> TargetSummary:
    records = [record for _, record in lines]
    key = records[0].target
    return TargetSummary(
        key=key,
        records=len(records),
        workloads=len(best_schedules(records)),
        choices=len(best_choices(records)),
        failed=sum(one.outcome != "passed" for one in records if not isinstance(one, Verdict)),
        rejected=len({one.candidate for one in records if isinstance(one, Verdict)}),
        files=len({line.file for line, _ in lines}),
        is_stale=is_stale(key),
    )
