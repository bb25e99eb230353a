"""One record and its line of JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

SCHEDULE = "schedule"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleRecord:
    """A schedule measured for one workload on one target.

    `trace` is TVM's JSON form of the schedule's steps and decisions. `times_us` are all measured
    times of one kernel call.
    """

    fingerprint: str  # TargetSpec.fingerprint
    workload: str  # structural hash of the kernel without its names, 16 hex digits
    trace: list[Any]
    times_us: tuple[float, ...]
    runner: str  # where it was measured: "native", "emulator", "rpc"

    @property
    def id(self) -> str:
        """First digits of the checksum: enough to name a record in a report."""
        return checksum(_content(self))[:12]


def checksum(content: dict[str, Any]) -> str:
    """Return the sha256 of the content's canonical JSON, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _content(record: ScheduleRecord) -> dict[str, Any]:
    return {
        "kind": SCHEDULE,
        "schema_version": SCHEMA_VERSION,
        "fingerprint": record.fingerprint,
        "workload": record.workload,
        "trace": record.trace,
        "times_us": list(record.times_us),
        "runner": record.runner,
    }


def to_line(record: ScheduleRecord) -> str:
    """Return the record as one line of JSON with its checksum, newline included."""
    content = _content(record)
    line = {**content, "checksum": checksum(content)}
    return json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n"


def from_line(line: str) -> ScheduleRecord:
    """Return the record in a line.

    Raises:
        ValueError: with what is wrong with the line.
    """
    try:
        content = json.loads(line)
    except ValueError as cause:
        raise ValueError(f"not JSON: {cause}") from cause
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    expected = content.pop("checksum", None)
    if expected != checksum(content):
        raise ValueError("the checksum does not match: the line was cut or edited")
    if content.get("schema_version") != SCHEMA_VERSION or content.get("kind") != SCHEDULE:
        raise ValueError(f"kind {content.get('kind')!r} of another version")
    return ScheduleRecord(
        fingerprint=content["fingerprint"],
        workload=content["workload"],
        trace=content["trace"],
        times_us=tuple(content["times_us"]),
        runner=content["runner"],
    )
