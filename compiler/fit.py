"""Plan memory within the target's limits; on a microcontroller, do what can be done for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from compiler.call_order import order_calls
from compiler.code_generation import GeneratedCode
from compiler.errors import LimitError
from compiler.limits import arena_room, check_limits
from compiler.memory_plan import MemoryPlan, Region, plan_memory
from compiler.target_spec import TargetSpec

_ALWAYS = ("the order of calls with the least memory", "results in the place of inputs")
_SMALLER = ("padding one row at a time", "code for size, without unrolled taps")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """Code, its calls in order, and a plan of its memory."""

    code: GeneratedCode
    plan: MemoryPlan


def plan_hosted(
    code: GeneratedCode, spec: TargetSpec, generate_smaller: Callable[[], GeneratedCode]
) -> Fitted:
    """Return the code with a plan of one arena, which an operating system gives.

    Raises:
        LimitError: it needs more than a limit.
    """
    del generate_smaller
    placed = place_hosted(code, spec)
    check_limits(spec, code.program, code.kernels, placed.plan)
    return placed


def place_hosted(code: GeneratedCode, spec: TargetSpec) -> Fitted:
    """Return the code with a plan of one arena, whatever the limits are."""
    arena = (Region(name="arena", size_bytes=None, alignment=spec.arena_align_bytes),)
    memory = {name: kernel.memory for name, kernel in code.kernels.items()}
    plan = plan_memory(code.program, memory, arena, spec.arena_align_bytes)
    return Fitted(code=code, plan=plan)


def fit(
    code: GeneratedCode, spec: TargetSpec, generate_smaller: Callable[[], GeneratedCode]
) -> Fitted:
    """Return the code with a plan that fits a board; smaller, slower code only where it must be.

    Args:
        generate_smaller: makes the code again, with less scratch and fewer instructions in it.

    Raises:
        LimitError: it does not fit; says what was tried.
    """
    try:
        return _planned(code, spec, ())
    except LimitError:
        return _planned(generate_smaller(), spec, (*_ALWAYS, *_SMALLER))


def _planned(code: GeneratedCode, spec: TargetSpec, tried: tuple[str, ...]) -> Fitted:
    placed = place_on_board(code, spec)
    check_limits(spec, placed.code.program, placed.code.kernels, placed.plan, tried)
    return placed


def place_on_board(code: GeneratedCode, spec: TargetSpec) -> Fitted:
    """Return the code, its calls in the best order, with a plan; the last RAM may be overfull."""
    memory = {name: kernel.memory for name, kernel in code.kernels.items()}
    program = order_calls(code.program, memory)
    plan = plan_memory(
        program,
        memory,
        _regions(spec),
        spec.arena_align_bytes,
        with_inputs=program.integer_io,  # what the caller writes need not outlive the first call
    )
    return Fitted(code=replace(code, program=program), plan=plan)


def _regions(spec: TargetSpec) -> tuple[Region, ...]:
    """RAM in the order that the planner fills it; the last without end: limits are checked after.

    Then an error can say how much is needed in all.
    """
    room = arena_room(spec)
    align = {region.name: region.align_bytes for region in spec.memory}
    last = list(room)[-1]
    return tuple(
        Region(
            name=name,
            size_bytes=None if name == last else size,
            alignment=align[name],
        )
        for name, size in room.items()
    )
