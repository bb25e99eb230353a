"""Records of what a search would find first: each kernel's default schedule."""

from __future__ import annotations

import onnx

from compiler.scheduling import trace_json, workload_hash
from compiler.target_spec import TargetSpec
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.target_key import TargetKey
from schedules.rules import rules_for
from tests.lowered import workloads
from tests.tuning_records import record


def default_records(
    model: onnx.ModelProto, spec: TargetSpec, key: TargetKey
) -> tuple[ScheduleRecord, ...]:
    """A record of `key` for each kernel of the model on `spec`, measured as 5 us."""
    rules, fallback = rules_for(spec)
    found = []
    for name, func in workloads(model, spec).functions.items():
        taken = ((rule.name, rule.apply(func, spec)) for rule in rules)
        rule, schedule = next(
            (one for one in taken if one[1] is not None), ("", fallback(func, spec)[0])
        )
        found.append(
            record(
                5.0,
                key=key,
                workload=workload_hash(func),
                kernel=name,
                rule=rule,
                trace=trace_json(schedule),
            )
        )
    return tuple(found)
