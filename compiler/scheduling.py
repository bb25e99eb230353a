"""Give every kernel a schedule: a record if there is one, else a rule, else the fallback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.tirx import PrimFunc

from compiler.errors import UnsupportedError
from compiler.program import Program, ScheduleOutcome
from compiler.stages.operators.contiguous import JOINS
from compiler.target_spec import TargetSpec
from compiler.tuning.store import NO_RECORDS, Records
from schedules import match, roles
from schedules.mcu.dot_product import register_dot_products
from schedules.rules import Rule, rules_for
from schedules.steps import PrimitiveError


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledKernel:
    """A scheduled PrimFunc and where its schedule came from."""

    name: str
    func: PrimFunc
    input_count: int
    outcome: ScheduleOutcome
    schedule: Schedule  # that made `func`


@dataclass(frozen=True, kw_only=True, slots=True)
class Workloads:
    """The distinct kernels of a program; equal ones are merged."""

    program: Program  # its calls name the merged kernels
    functions: dict[str, PrimFunc]
    input_counts: dict[str, int]


def distinct_workloads(mod: IRModule, program: Program) -> Workloads:
    """Merge kernels that compute the same, whatever their names, and name them for C.

    A name is ``<operators>_<dtype>_<shape of the first output>``, numbered where that clashes.
    """
    functions: dict[str, PrimFunc] = {}
    input_counts: dict[str, int] = {}
    by_hash: dict[int, list[str]] = {}
    calls = []
    for call in program.calls:
        func = _anonymous(mod[call.kernel])
        key = tvm_ffi.structural_hash(func)
        name = _find_equal(func, by_hash.get(key, []), functions)
        if name is None:
            first = program.values[call.outputs[0]]
            shape = "x".join(str(extent) for extent in first.shape) or "scalar"
            name = _unused(f"{_operators(call.kernel)}_{first.dtype}_{shape}", functions)
            functions[name] = func
            input_counts[name] = len(call.inputs)
            by_hash.setdefault(key, []).append(name)
        calls.append(replace(call, kernel=name))
    return Workloads(
        program=replace(program, calls=tuple(calls)),
        functions=functions,
        input_counts=input_counts,
    )


def _anonymous(func: PrimFunc) -> PrimFunc:
    """Without what differs between equal kernels: symbol, fusion pattern, mark of joins."""
    for attribute in ("global_symbol", "op_pattern", JOINS):
        if func.attrs is not None and attribute in func.attrs:
            func = func.without_attr(attribute)
    return func


def _find_equal(
    func: PrimFunc, candidates: list[str], functions: Mapping[str, PrimFunc]
) -> str | None:
    for name in candidates:
        if tvm_ffi.structural_equal(functions[name], func):
            return name
    return None


# A C identifier may be long, but a symbol in a profile should fit a line.
_LONGEST_OPERATORS = 48


def _operators(kernel: str) -> str:
    """``fused_conv2d1__3_add__4_relu__5`` -> ``conv2d_add_relu``."""
    words = []
    for part in kernel.removeprefix("fused_").split("__"):
        word = part.lstrip("0123456789").strip("_").rstrip("0123456789")
        word = word.removeprefix("tir_").removeprefix("te_").removeprefix("T_")
        if word:
            words.append(word)
    text = "_".join(words).lower()
    return text if len(text) <= _LONGEST_OPERATORS else text[:_LONGEST_OPERATORS].rstrip("_")


def _unused(name: str, taken: Mapping[str, PrimFunc]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def layout_changes(func: PrimFunc) -> int:
    """Copies between plain and blocked layout among what a kernel computes."""
    sch = Schedule(func)
    if match.root_block(sch) is None:
        return 0
    return sum(match.role(sch, block) == roles.LAYOUT for block in match.blocks(sch))


def workload_hash(func: PrimFunc) -> str:
    """Return the key of a kernel in tuning records: equal for equal kernels of any name."""
    return f"{tvm_ffi.structural_hash(_anonymous(func)) & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def kernel_text(func: PrimFunc) -> str:
    """Return a kernel as JSON, for another process by the same version of TVM."""
    text: str = tvm.ir.save_json(func)
    return text


def kernel_of_text(text: str) -> PrimFunc:
    """Return the kernel that `kernel_text` wrote."""
    return tvm.ir.load_json(text)


def schedule_kernel(
    name: str,
    func: PrimFunc,
    input_count: int,
    spec: TargetSpec,
    records: Records = NO_RECORDS,
    given_rules: tuple[Rule, ...] | None = None,
    not_lowered: Mapping[str, str] | None = None,
) -> ScheduledKernel:
    """Return the kernel with the schedule of its record, else of the first rule that takes it.

    Args:
        given_rules: instead of those of the target's family.
        not_lowered: records and rules whose schedule could not be lowered, and why: passed over.

    Raises:
        UnsupportedError: no schedule could be applied, not even the fallback.
    """
    failures = not_lowered or {}
    record = records.schedules.get(workload_hash(func))
    no_record = "no record"
    if record is not None and record.id in failures:
        no_record = f"record {record.id} cannot be used ({failures[record.id]})"
    elif record is not None:
        try:
            schedule = replayed(func, record.trace)
        except PrimitiveError as failure:
            no_record = f"record {record.id} cannot be replayed ({_first_line(failure)})"
        else:
            outcome = ScheduleOutcome(source="record", name=record.id)
            return _scheduled(name, schedule, input_count, outcome)
    rules, fallback = rules_for(spec)
    rules = rules if given_rules is None else given_rules
    refused: list[str] = []
    failed: list[str] = []
    for rule in rules:
        schedule, failed_how = _tried(rule, func, spec, failures.get(rule.name))
        if schedule is not None:
            reason = "; ".join([no_record, *failed])
            outcome = ScheduleOutcome(source="rule", name=rule.name, reason=reason)
            return _scheduled(name, schedule, input_count, outcome)
        refused.append(f"{rule.name} ({failed_how})" if failed_how else rule.name)
        failed += [refused[-1]] if failed_how else []
    try:
        schedule, kind = fallback(func, spec)
    except Exception as cause:
        raise UnsupportedError(
            f"kernel `{name}` cannot be scheduled",
            why=str(cause).strip().splitlines()[-1],
            fix="report the model: the fallback must take every kernel",
        ) from cause
    outcome = ScheduleOutcome(
        source="fallback", name=kind, reason=f"{no_record}; not for {', '.join(refused)}"
    )
    return _scheduled(name, schedule, input_count, outcome)


def _tried(
    rule: Rule, func: PrimFunc, spec: TargetSpec, not_lowered: str | None
) -> tuple[Schedule | None, str]:
    """The rule's schedule, else None and how the rule failed; empty if it is for other kernels."""
    if not_lowered is not None:
        return None, f"failed: {not_lowered}"
    try:
        return rule.apply(func, spec), ""
    except PrimitiveError as failure:
        # A kernel of the rule's kind that its steps do not fit: slower, but still right.
        return None, f"failed: {_first_line(failure)}"


def trace_json(schedule: Schedule) -> list[Any]:
    """Return a schedule's trace as plain JSON values, as a record keeps it."""

    def plain(value: Any) -> Any:
        if isinstance(value, tvm.tirx.IntImm | tvm.tirx.FloatImm):
            return value.value
        if value is None or isinstance(value, str | int | float):
            return value
        return [plain(item) for item in value]

    trace: list[Any] = plain(schedule.trace.as_json())
    return trace


def replayed(func: PrimFunc, trace: list[Any]) -> Schedule:
    """Return the schedule of a kernel by the steps and decisions of `trace_json`.

    Raises:
        PrimitiveError: the steps do not fit.
    """
    register_dot_products()
    schedule = Schedule(func)
    Trace.apply_json_to_schedule(trace, schedule)
    return schedule


def _first_line(failure: Exception) -> str:
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__


def _scheduled(
    name: str, schedule: Schedule, input_count: int, outcome: ScheduleOutcome
) -> ScheduledKernel:
    return ScheduledKernel(
        name=name,
        func=schedule.mod["main"],
        input_count=input_count,
        outcome=outcome,
        schedule=schedule,
    )


def relax_plan_bytes(mod: IRModule, target: tvm.target.Target) -> int:
    """Bytes that Relax's own memory planner would allocate for the module, for comparison."""
    transform = relax.transform
    passes = [transform.CallTIRRewrite(), transform.StaticPlanBlockMemory()]
    with target:
        planned = tvm.transform.Sequential(passes)(mod)
    total = 0
    for block in planned["main"].body.blocks:
        for binding in block.bindings:
            operator = getattr(getattr(binding.value, "op", None), "name", "")
            if operator == "relax.memory.alloc_storage":
                size = 1
                for extent in binding.value.args[0].values:
                    size *= int(extent)
                total += size
    return total
