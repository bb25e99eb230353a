"""One record and its line of JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal, get_args

from compiler.tuning.target_key import TargetKey

SCHEDULE = "schedule"
SCHEMA_VERSION = 2

Unit = Literal["us", "instructions"]  # of one kernel call
Outcome = Literal["passed", "wrong-numbers", "crashed", "timed-out", "not-built"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """All values measured of one kernel call; none of a candidate that failed."""

    unit: Unit
    values: tuple[float, ...]
    runner: str  # "native", "emulator", "rpc"
    conditions: str = ""  # the machine by its own words, and how it was measured
    # What the default schedule took when both were measured in turns; None: measured alone.
    reference: float | None = None

    @property
    def typical(self) -> float:
        """The median; of no values, infinity."""
        return median(self.values) if self.values else math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleRecord:
    """A schedule tried for one workload on one target, and how that went.

    `trace` is TVM's JSON form of the schedule's steps and decisions.
    """

    target: TargetKey
    workload: str  # structural hash of the kernel without its names, 16 hex digits
    kernel: str  # its name in the model that it was measured for; for reading only
    rule: str  # that drew the decisions; "" if another search did
    trace: list[Any]
    outcome: Outcome  # "passed": compiled, and its numbers are those of the default schedule
    reason: str = ""  # of another outcome
    measurement: Measurement

    @property
    def id(self) -> str:
        """First digits of the checksum: enough to name a record in a report."""
        return checksum(_content(self))[:12]

    @property
    def trace_id(self) -> str:
        """Equal for equal schedules."""
        return trace_id(self.trace)

    @property
    def is_usable(self) -> bool:
        """Whether a build may use it: it was checked and measured."""
        return self.outcome == "passed" and bool(self.measurement.values)


def trace_id(trace: list[Any]) -> str:
    """Return a name of a schedule: equal for equal steps and decisions."""
    return hashlib.sha256(_canonical(trace).encode()).hexdigest()[:12]


def decisions(record: ScheduleRecord) -> list[tuple[str, Any]]:
    """Return what the sampling steps of the trace decided: (step, decision), in order."""
    steps, decided = record.trace
    return [(steps[index][0], decision) for index, decision in decided]


def checksum(content: Mapping[str, Any]) -> str:
    """Return the sha256 of the content's canonical JSON, in hexadecimal."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _content(record: ScheduleRecord) -> dict[str, Any]:
    return {"kind": SCHEDULE, "schema_version": SCHEMA_VERSION, **asdict(record)}


def to_line(record: ScheduleRecord) -> str:
    """Return the record as one line of JSON with its checksum, newline included."""
    content = _content(record)
    return _canonical({**content, "checksum": checksum(content)}) + "\n"


def from_line(line: str) -> ScheduleRecord:
    """Return the record in a line.

    Raises:
        ValueError: with what is wrong with the line.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"not JSON: {cause}") from cause
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    expected = content.pop("checksum", None)
    if expected != checksum(content):
        raise ValueError("the checksum does not match: the line was cut or edited")
    kind, version = content.pop("kind", None), content.pop("schema_version", None)
    if (kind, version) != (SCHEDULE, SCHEMA_VERSION):
        known = f"{SCHEDULE!r} in version {SCHEMA_VERSION}"
        raise ValueError(f"kind {kind!r} in version {version!r}; this program reads {known}")
    try:
        return _record(content)
    except (TypeError, KeyError, ValueError, AttributeError) as cause:
        raise ValueError(f"not a schedule record: {cause}") from cause


def _record(content: dict[str, Any]) -> ScheduleRecord:
    measured = content.pop("measurement")
    values = tuple(float(value) for value in measured.pop("values"))
    record = ScheduleRecord(
        target=TargetKey(**content.pop("target")),
        measurement=Measurement(values=values, **measured),
        **content,
    )
    _require(all(0 < value < math.inf for value in values), "a value that is no positive number")
    reference = record.measurement.reference
    _require(reference is None or 0 < reference < math.inf, "a reference that is no time")
    _require(record.measurement.unit in get_args(Unit), "an unknown unit")
    _require(record.outcome in get_args(Outcome), "an unknown outcome")
    texts = (record.workload, record.kernel, record.rule, record.reason, record.measurement.runner)
    _require(all(isinstance(text, str) for text in texts), "a text that is none")
    _require(isinstance(record.target.fingerprint, str), "a fingerprint that is no text")
    _require(_is_trace(record.trace), "a trace that is none")
    return record


def _is_trace(trace: Any) -> bool:
    """Steps ([name, ...]), and decisions by the index of their step ([index, any])."""
    if not (isinstance(trace, list) and len(trace) == 2):
        return False
    steps, decided = trace
    return (
        isinstance(steps, list)
        and isinstance(decided, list)
        and all(isinstance(step, list) and step and isinstance(step[0], str) for step in steps)
        and all(isinstance(one, list) and len(one) == 2 for one in decided)
        and all(isinstance(one[0], int) and 0 <= one[0] < len(steps) for one in decided)
    )


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)
