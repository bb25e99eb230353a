"""Records made up for tests, and folders of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.tuning.record import (
    ChoiceRecord,
    Measurement,
    Record,
    ScheduleRecord,
    Unit,
    Verdict,
    to_line,
)
from compiler.tuning.target_key import TargetKey

KEY = TargetKey(
    name="made-up",
    fingerprint="f" * 64,
    machine="a" * 64,
    threads=1,
    tvm_version="0.0.1",
    rule_set_version="0",
)
TRACE: list[Any] = [
    [
        ["GetSBlock", [], ["C", "main"], ["b0"]],
        ["SamplePerfectTile", ["l1"], [2, 16], ["l2", "l3"]],
    ],
    [[1, [8, 4]]],
]


def record(
    *times: float, unit: Unit = "us", key: TargetKey = KEY, **changes: Any
) -> ScheduleRecord:
    """A record of KEY with these measured values, and further fields."""
    measurement = Measurement(unit=unit, values=times, runner="native", conditions="a machine")
    facts: dict[str, Any] = {
        "target": key,
        "workload": "0123456789abcdef",
        "kernel": "matmul_float32_8x8",
        "rule": "matmul",
        "trace": TRACE,
        "outcome": "passed",
        "measurement": measurement,
    }
    return ScheduleRecord(**{**facts, **changes})


SIGNATURE = "conv2d float32 1x64x56x56 64x64x3x3 strides 1,1 pads 1,1,1,1 groups 1"


def choice_record(
    time: float | None, *, default: float = 10.0, key: TargetKey = KEY, **changes: Any
) -> ChoiceRecord:
    """A record of KEY whose choice takes `time` where the default takes `default`."""
    unit = changes.pop("unit", "us")

    def measured(*values: float) -> Measurement:
        return Measurement(unit=unit, values=values, runner="native")

    facts: dict[str, Any] = {
        "target": key,
        "signature": SIGNATURE,
        "choice": {"algorithm": "winograd", "tile": 4, "chunk": [7, 14]},
        "instead_of": {"algorithm": "direct"},
        "model": "resnet18",
        "operators": 1,
        "outcome": "passed",
        "measurement": measured() if time is None else measured(time),
        "default": measured(default),
    }
    return ChoiceRecord(**{**facts, **changes})


def rejection(of: ScheduleRecord | ChoiceRecord, reason: str = "1.03 times as long") -> Verdict:
    """The verdict that rejects the record's schedule or choice."""
    if isinstance(of, ChoiceRecord):
        return Verdict(target=of.target, signature=of.signature, choice=of.choice, reason=reason)
    return Verdict(target=of.target, workload=of.workload, trace_id=of.trace_id, reason=reason)


def other_key(letter: str, **changes: Any) -> TargetKey:
    """Another fingerprint."""
    return replace(KEY, fingerprint=letter * 64, **changes)


def write(folder: Path, *content: Record | str, name: str = "one.jsonl") -> Path:
    """Write records and other lines into the folder of the first record, else of KEY."""
    keys = [one.target for one in content if not isinstance(one, str)]
    key = keys[0] if keys else KEY
    path = folder / key.name / key.fingerprint / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [one if isinstance(one, str) else to_line(one) for one in content]
    path.write_text("".join(lines))
    return path
