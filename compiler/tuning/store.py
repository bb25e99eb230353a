"""Which records a build uses: the best of exactly its target and tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from compiler.tuning.folder import read_file, read_lines, record_files
from compiler.tuning.record import ChoiceRecord, Record, ScheduleRecord, Verdict
from compiler.tuning.target_key import TargetKey

# A choice that saves less is noise: the default, which needs no record, is as good.
LEAST_GAIN = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """The best record for each workload and for each operator, and what was passed over."""

    schedules: Mapping[str, ScheduleRecord] = field(default_factory=dict)  # by workload
    choices: Mapping[str, ChoiceRecord] = field(default_factory=dict)  # by signature
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
    known = [line.record for line in lines if line.record is not None]
    return Records(
        schedules=best_schedules(known),
        choices=best_choices(known),
        passed_over=tuple(line.complaint for line in lines if line.record is None),
        stale=_stale_keys(folder, key),
    )


def best_schedules(records: Iterable[Record]) -> dict[str, ScheduleRecord]:
    """Return the best usable record of each workload.

    A schedule that once gave wrong numbers, crashed or was rejected is not used, whatever other
    records say.
    """
    best: dict[str, ScheduleRecord] = {}
    for record in usable(records):
        if isinstance(record, ScheduleRecord):
            other = best.get(record.workload)
            if other is None or rank(record) < rank(other):
                best[record.workload] = record
    return best


def best_choices(records: Iterable[Record]) -> dict[str, ChoiceRecord]:
    """Return, for each signature whose default is not best, the best record of the best choice.

    Models may disagree, since a choice changes neighbours: the mean of what they save decides.
    """
    return {
        signature: min(groups[0], key=lambda one: (-one.saved, one.id))
        for signature, groups in ranked_choices(records).items()
        if _is_gain(groups[0])
    }


def ranked_choices(records: Iterable[Record]) -> dict[str, list[list[ChoiceRecord]]]:
    """Return the usable records of each signature, those of one choice together, best choice first.

    What was timed comes before counted instructions, which only stand for times.
    """
    by_candidate: dict[tuple[str, str], dict[str, ChoiceRecord]] = {}
    for record in usable(records):
        if isinstance(record, ChoiceRecord):
            by_candidate.setdefault(record.candidate, {})[record.id] = record
    ranked: dict[str, list[list[ChoiceRecord]]] = {}
    for (signature, _), group in by_candidate.items():
        timed = [one for one in group.values() if one.measurement.unit == "us"]
        ranked.setdefault(signature, []).append(timed or list(group.values()))
    for groups in ranked.values():
        groups.sort(key=_choice_rank)
    return ranked


def _choice_rank(group: list[ChoiceRecord]) -> tuple[bool, float, str]:
    saved = fmean(one.saved for one in group)
    return group[0].measurement.unit != "us", -saved, group[0].choice_id


def is_gain(record: ChoiceRecord) -> bool:
    """Whether a choice, by this record alone, is better than the default by more than noise."""
    return record.is_usable and _is_gain([record])


def _is_gain(group: list[ChoiceRecord]) -> bool:
    """Whether an operator saves enough of what it and its neighbours take by default."""
    saved = fmean(one.saved for one in group)
    return saved > LEAST_GAIN * fmean(one.default.typical / one.operators for one in group)


def usable(records: Iterable[Record]) -> list[ScheduleRecord | ChoiceRecord]:
    """Return the measured records of one target, but those of what once failed or was rejected."""
    known = list(records)
    never_again = {
        one.candidate for one in known if isinstance(one, Verdict) or one.outcome in _NEVER_AGAIN
    }
    return [
        one
        for one in known
        if not isinstance(one, Verdict) and one.is_usable and one.candidate not in never_again
    ]


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
