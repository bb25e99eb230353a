"""The kinds of record, and a record's line of JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, ClassVar, Literal, get_args

from compiler.tuning.target_key import TargetKey

Unit = Literal["us", "instructions"]  # of one kernel call, or of the calls that a choice changes
Choice = dict[str, Any]  # what was chosen, by name: small, and plain JSON
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

    kind: ClassVar[str] = "schedule"
    schema_version: ClassVar[int] = 2

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
        return _id(self)

    @property
    def trace_id(self) -> str:
        """Equal for equal schedules."""
        return trace_id(self.trace)

    @property
    def candidate(self) -> tuple[str, str]:
        """What a verdict names: the schedule of the workload."""
        return self.workload, self.trace_id

    @property
    def is_reference(self) -> bool:
        """Whether it is the default schedule, measured in turns with others that had to beat it."""
        return self.is_usable and self.measurement.reference == self.measurement.typical

    @property
    def is_usable(self) -> bool:
        """Whether a build may use it: it was checked and measured."""
        return self.outcome == "passed" and bool(self.measurement.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceRecord:
    """An operator's algorithm, layout or packing tried on one target, and how that went.

    Both measurements are sums over the kernel calls of the model that differ between the choice
    and the default: a choice changes neighbours, too.
    """

    kind: ClassVar[str] = "choice"
    schema_version: ClassVar[int] = 1

    target: TargetKey
    signature: str  # what is computed, readable: "conv2d float32 1x64x56x56 64x64x3x3 ..."
    choice: Choice
    instead_of: Choice  # the default
    model: str  # that it was measured in; for reading only
    operators: int  # of this signature in that model
    outcome: Outcome
    reason: str = ""  # of another outcome than "passed"
    measurement: Measurement
    default: Measurement

    @property
    def id(self) -> str:
        """First digits of the checksum: enough to name a record in a report."""
        return _id(self)

    @property
    def choice_id(self) -> str:
        """Equal for equal choices."""
        return choice_id(self.choice)

    @property
    def candidate(self) -> tuple[str, str]:
        """What a verdict names: the choice for the signature."""
        return self.signature, self.choice_id

    @property
    def is_usable(self) -> bool:
        """Whether a build may use it: it was checked, and measured beside the default."""
        return self.outcome == "passed" and bool(self.measurement.values and self.default.values)

    @property
    def saved(self) -> float:
        """What one operator gains by it, in the unit of its measurements; below 0: it loses."""
        return (self.default.typical - self.measurement.typical) / self.operators


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A schedule, or a choice, that no build uses, however fast its kernels were measured.

    A schedule is named by `workload` and `trace_id`, a choice by `signature` and itself.
    """

    kind: ClassVar[str] = "verdict"
    schema_version: ClassVar[int] = 1

    target: TargetKey
    workload: str = ""
    trace_id: str = ""
    signature: str = ""
    choice: Choice | None = None
    verdict: Literal["rejected"] = "rejected"
    reason: str  # such as "resnet18 took 1.03 times as long with it"

    @property
    def id(self) -> str:
        """First digits of the checksum: enough to name a record in a report."""
        return _id(self)

    @property
    def candidate(self) -> tuple[str, str]:
        """What is rejected: as `candidate` of the records of it."""
        if self.choice is None:
            return self.workload, self.trace_id
        return self.signature, choice_id(self.choice)


Record = ScheduleRecord | ChoiceRecord | Verdict


def trace_id(trace: list[Any]) -> str:
    """Return a name of a schedule: equal for equal steps and decisions."""
    return _digest(trace)[:12]


def choice_id(choice: Choice) -> str:
    """Return a name of a choice: equal for equal choices."""
    return _digest(choice)[:12]


def choice_text(choice: Choice) -> str:
    """Return a choice in words: ``algorithm winograd, chunk 7x14, tile 4``."""

    def text(value: Any) -> str:
        return "x".join(map(str, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in sorted(choice.items()))


def decisions(record: ScheduleRecord) -> list[tuple[str, Any]]:
    """Return what the sampling steps of the trace decided: (step, decision), in order."""
    steps, decided = record.trace
    return [(steps[index][0], decision) for index, decision in decided]


def checksum(content: Mapping[str, Any]) -> str:
    """Return the sha256 of the content's canonical JSON, in hexadecimal."""
    return _digest(content)


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _id(record: Record) -> str:
    return checksum(_content(record))[:12]


def _content(record: Record) -> dict[str, Any]:
    content = {"kind": record.kind, "schema_version": record.schema_version, **asdict(record)}
    # Left out where there is none: ids of records that were written before it was known stay.
    if content.get("measurement", {}).get("reference", 0.0) is None:
        del content["measurement"]["reference"]
    return content


def to_line(record: Record) -> str:
    """Return the record as one line of JSON with its checksum, newline included."""
    content = _content(record)
    return _canonical({**content, "checksum": checksum(content)}) + "\n"


def from_line(line: str) -> Record:
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
    read = {(one.kind, one.schema_version): make for one, make in _MAKERS}.get((kind, version))
    if read is None:
        known = ", ".join(f"{one.kind!r} in version {one.schema_version}" for one, _ in _MAKERS)
        raise ValueError(f"kind {kind!r} in version {version!r}; this program reads {known}")
    try:
        return read(content)
    except (TypeError, KeyError, ValueError, AttributeError) as cause:
        raise ValueError(f"not a {kind} record: {cause}") from cause


def _schedule_record(content: dict[str, Any]) -> ScheduleRecord:
    record = ScheduleRecord(
        target=_target(content), measurement=_measurement(content, "measurement"), **content
    )
    _require_outcome(record.outcome)
    _require_texts(record.workload, record.kernel, record.rule, record.reason)
    _require(_is_trace(record.trace), "a trace that is none")
    return record


def _choice_record(content: dict[str, Any]) -> ChoiceRecord:
    record = ChoiceRecord(
        target=_target(content),
        measurement=_measurement(content, "measurement"),
        default=_measurement(content, "default"),
        **content,
    )
    _require_outcome(record.outcome)
    _require_texts(record.signature, record.model, record.reason)
    both = (record.choice, record.instead_of)
    _require(all(isinstance(choice, dict) for choice in both), "a choice that is none")
    _require(record.measurement.unit == record.default.unit, "two units")
    _require(type(record.operators) is int and record.operators > 0, "no operator")
    return record


def _verdict(content: dict[str, Any]) -> Verdict:
    record = Verdict(target=_target(content), **content)
    _require(record.verdict == "rejected", "an unknown verdict")
    _require_texts(record.workload, record.trace_id, record.signature, record.reason)
    of_schedule = bool(record.workload and record.trace_id)
    of_choice = bool(record.signature) and isinstance(record.choice, dict)
    _require(of_schedule != of_choice, "a verdict on no schedule and no choice, or on both")
    return record


_MAKERS: tuple[tuple[type[Record], Callable[[dict[str, Any]], Record]], ...] = (
    (ScheduleRecord, _schedule_record),
    (ChoiceRecord, _choice_record),
    (Verdict, _verdict),
)


def _target(content: dict[str, Any]) -> TargetKey:
    key = TargetKey(**content.pop("target"))
    _require(isinstance(key.fingerprint, str), "a fingerprint that is no text")
    return key


def _measurement(content: dict[str, Any], name: str) -> Measurement:
    measured = content.pop(name)
    values = tuple(float(value) for value in measured.pop("values"))
    measurement = Measurement(values=values, **measured)
    _require(all(0 < value < math.inf for value in values), "a value that is no positive number")
    reference = measurement.reference
    _require(reference is None or 0 < reference < math.inf, "a reference that is no time")
    _require(measurement.unit in get_args(Unit), "an unknown unit")
    _require_texts(measurement.runner)
    return measurement


def _require_outcome(outcome: str) -> None:
    _require(outcome in get_args(Outcome), "an unknown outcome")


def _require_texts(*texts: Any) -> None:
    _require(all(isinstance(text, str) for text in texts), "a text that is none")


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
