"""The schedules to compare, each by its name, as kernels that were built; or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compiler.errors import InputError, LoweringError, UnsupportedError
from compiler.measure.kernel_list import Kernel
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.target_spec import TargetSpec
from compiler.tuning.record import Outcome, ScheduleRecord
from compiler.tuning.store import NO_RECORDS, Records

DEFAULT, FALLBACK, RECORD = "default", "fallback", "record"
_WORDS = (DEFAULT, FALLBACK, RECORD)

# A rule returns a schedule of TVM's, or None if the kernel is not of its kind.
RuleFunction = Callable[[Any, TargetSpec], Any]
# One of the three words, a rule, a schedule of TVM's or a record.
GivenSchedule = str | RuleFunction | ScheduleRecord | Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One schedule of a kernel, built; or not, and why."""

    name: str
    schedule: str  # where it came from: "rule: conv2d"
    func: Any = None  # TVM's PrimFunc, scheduled; None if there is no schedule
    kernel: CompiledKernel | None = None
    outcome: Outcome = "passed"
    reason: str = ""  # of another outcome


def built_variant(
    name: str, given: GivenSchedule, kernel: Kernel, records: Records = NO_RECORDS
) -> Variant:
    """Schedule and build a kernel as `given` says.

    Args:
        records: what "record" looks in.

    Raises:
        InputError: `given` is no schedule, or a schedule of another kernel.
    """
    if isinstance(given, str):
        return _by_word(name, given, kernel, records)
    if isinstance(given, ScheduleRecord):
        return _by_record(name, given, kernel)
    if hasattr(given, "mod") and hasattr(given, "trace"):
        func = given.mod["main"]
        _require_same_operands(name, func, kernel)
        return _built(name, func, kernel, ScheduleOutcome(source="schedule", name=name))
    if callable(given):
        return _by_rule(name, given, kernel)
    raise InputError(
        f"`{name}` is no schedule",
        why=f"it is a {type(given).__name__}",
        fix=f"give a rule (a function of PrimFunc and TargetSpec), a schedule, a record or one of "
        f"{', '.join(_WORDS)}",
    )


def _by_word(name: str, word: str, kernel: Kernel, records: Records) -> Variant:
    if word == DEFAULT:
        return _default(name, kernel)
    if word == FALLBACK:
        return _fallback(name, kernel)
    if word != RECORD:
        raise InputError(
            f"`{name}` is no schedule",
            why=f"`{word}` is none of the words {', '.join(_WORDS)}",
            fix="give one of them, a rule, a schedule or a record",
        )
    record = records.schedules.get(kernel.task.workload)
    if record is None:
        reason = f"there is no record of workload {kernel.task.workload} for {kernel.spec.name}"
        return _not_built(name, RECORD, reason)
    return _by_record(name, record, kernel)


def _default(name: str, kernel: Kernel) -> Variant:
    """As `code_generation.build_scheduled`: rules whose schedule cannot be lowered give way."""
    from compiler.scheduling import schedule_kernel

    task, not_lowered = kernel.task, dict[str, str]()
    while True:
        scheduled = schedule_kernel(
            task.kernel,
            task.func,
            task.input_count,
            kernel.spec,
            NO_RECORDS,
            kernel.lowering.rules,
            not_lowered,
        )
        variant = _built(name, scheduled.func, kernel, scheduled.outcome)
        if variant.outcome == "passed" or scheduled.outcome.source == "fallback":
            return variant
        not_lowered[scheduled.outcome.name] = variant.reason


def _fallback(name: str, kernel: Kernel) -> Variant:
    scheduled = _without_rules(kernel, NO_RECORDS)
    return _built(name, scheduled.func, kernel, scheduled.outcome)


def _by_record(name: str, record: ScheduleRecord, kernel: Kernel) -> Variant:
    """Whatever target it is of: a comparison may try a neighbour's, a build does not."""
    scheduled = _without_rules(kernel, Records(schedules={kernel.task.workload: record}))
    if scheduled.outcome.source != RECORD:
        reason = scheduled.outcome.reason.partition("; ")[0]
        return _not_built(name, f"{RECORD}: {record.id}", reason)
    return _built(name, scheduled.func, kernel, scheduled.outcome)


def _without_rules(kernel: Kernel, records: Records) -> Any:
    """The kernel scheduled by its record, else by the fallback."""
    from compiler.scheduling import schedule_kernel

    task = kernel.task
    return schedule_kernel(task.kernel, task.func, task.input_count, kernel.spec, records, ())


def _by_rule(name: str, rule: RuleFunction, kernel: Kernel) -> Variant:
    """What else but TVM's own refusals a rule raises is a bug in it and shows its traceback."""
    from schedules.steps import PrimitiveError

    try:
        schedule = rule(kernel.task.func, kernel.spec)
    except PrimitiveError as failure:
        lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
        reason = f"the rule failed: {lines[0] if lines else type(failure).__name__}"
        return _not_built(name, f"rule: {name}", reason)
    if schedule is None:
        return _not_built(name, f"rule: {name}", "the rule does not take this kernel")
    outcome = ScheduleOutcome(source="rule", name=name)
    return _built(name, schedule.mod["main"], kernel, outcome)


def _not_built(name: str, schedule: str, reason: str) -> Variant:
    return Variant(name=name, schedule=schedule, outcome="not-built", reason=reason)


def _built(name: str, func: Any, kernel: Kernel, outcome: ScheduleOutcome) -> Variant:
    schedule = f"{outcome.source}: {outcome.name}"
    try:
        built = kernel.lowering.build(
            func, name=kernel.name, input_count=kernel.task.input_count, outcome=outcome
        )
    except (LoweringError, UnsupportedError) as failure:
        return Variant(
            name=name,
            schedule=schedule,
            func=func,
            outcome="not-built",
            reason=f"not lowered: {failure.why}",
        )
    return Variant(name=name, schedule=schedule, func=func, kernel=built)


def _require_same_operands(name: str, func: Any, kernel: Kernel) -> None:
    ours, theirs = (
        [(tuple(int(e) for e in p.ty.shape), str(p.ty.dtype)) for p in one.params]
        for one in (kernel.task.func, func)
    )
    if ours != theirs:
        raise InputError(
            f"`{name}` is a schedule of another kernel",
            why=f"its operands are {_operands(theirs)}; {kernel.name} has {_operands(ours)}",
            fix="make the schedule of `kernel.task.func`",
        )


def _operands(shapes: list[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{dtype} {'x'.join(map(str, shape)) or 'scalar'}" for shape, dtype in shapes)
