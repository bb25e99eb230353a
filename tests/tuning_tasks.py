"""Tasks of the tuner from models made up for tests, and candidates for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from tvm.s_tir import Schedule

from compiler.scheduling import Workloads, trace_json, workload_hash
from compiler.target_spec import TargetSpec
from compiler.tuner.graph_tasks import constant_of
from compiler.tuner.trial import Candidate, TuningTask
from schedules.draws import Draw, draws, with_decisions
from schedules.rules import rules_for
from tests.lowered import workloads


def tasks(model: onnx.ModelProto, spec: TargetSpec) -> dict[str, TuningTask]:
    """The distinct kernels of a model as tasks, by name."""
    return tasks_of(workloads(model, spec))


def tasks_of(found: Workloads) -> dict[str, TuningTask]:
    made = {}
    for name, func in found.functions.items():
        calls = [call for call in found.program.calls if call.kernel == name]
        made[name] = TuningTask(
            kernel=name,
            workload=workload_hash(func),
            func=func,
            input_count=found.input_counts[name],
            calls=len(calls),
            macs=calls[0].macs,
            constants=tuple(constant_of(found.program, value) for value in calls[0].inputs),
        )
    return made


def default_schedule(task: TuningTask, spec: TargetSpec) -> tuple[str, Schedule]:
    """The rule or fallback that takes the task, and its schedule."""
    rules, fallback = rules_for(spec)
    for rule in rules:
        schedule = rule.apply(task.func, spec)
        if schedule is not None:
            return rule.name, schedule
    schedule, kind = fallback(task.func, spec)
    return kind, schedule


def default_candidate(task: TuningTask, spec: TargetSpec) -> Candidate:
    rule, schedule = default_schedule(task, spec)
    return Candidate(task=task, trace=trace_json(schedule), rule=rule)


def other_candidate(
    task: TuningTask, spec: TargetSpec, choose: Callable[[Draw], Any] = lambda draw: draw.choices[0]
) -> Candidate:
    """The default with other decisions."""
    rule, schedule = default_schedule(task, spec)
    decided: Mapping[int, Any] = {draw.step: choose(draw) for draw in draws(schedule)}
    changed = with_decisions(task.func, schedule, decided)
    return Candidate(task=task, trace=trace_json(changed), rule=rule)
