"""Hold a compiled model to what its target, or the user, allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import LimitError
from compiler.memory_plan import MemoryPlan, Placement, lifetimes
from compiler.program import CompiledKernel, KernelCall, Program
from compiler.target_spec import TargetSpec
from compiler.target_tables import LIMIT_NAMES

_HELD = ("flash_bytes", "ram_bytes", "library_bytes")
_HELD_BY_RUNNING = ("stack_bytes", "instruction_count")  # a microcontroller's, in its emulator
_HELD_BY_TIMING = ("latency_us",)  # where the runner can time
_LONGEST_NAME = 60
_LARGEST = 3  # how many tensors or kernels an error names


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedSize:
    """A tensor, a weight, a kernel or a call, and its bytes."""

    name: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{_short(self.name)} ({self.size_bytes:,} bytes)"


def check_limits(
    spec: TargetSpec,
    program: Program,
    kernels: Mapping[str, CompiledKernel],
    plan: MemoryPlan,
    tried: Sequence[str] = (),
) -> None:
    """Refuse a model that needs more RAM or flash than the target's limits and memory.

    RAM is the planned regions, flash the kernels' code and the weights.

    Args:
        tried: what was done already to make it fit, for the error.

    Raises:
        LimitError: with the amount, the limit, and what needs most.
    """
    flash = sum(kernel.code_bytes for kernel in kernels.values())
    flash += sum(array.nbytes for array in program.constants.values())
    ram = sum(region.size_bytes for region in plan.regions)
    most_ram = f"largest tensors: {_listing(largest_buffers(program, plan))}; "
    most_ram += f"kernels that need most: {_listing(_hungriest_calls(program, plan))}"
    most_flash = f"largest weights: {_listing(largest_constants(program))}; "
    most_flash += f"kernels with most code: {_listing(_longest_kernels(kernels))}"
    _check_memory(spec, plan, ram, most_ram, tried)
    _check("ram_bytes", "RAM", ram, spec.limits.ram_bytes, most_ram, tried)
    _check("flash_bytes", "flash", flash, spec.limits.flash_bytes, most_flash, tried)


def arena_room(spec: TargetSpec) -> dict[str, int]:
    """Bytes of each RAM region that arenas may use, in rank order: the first holds the stack."""
    ram = sorted((r for r in spec.memory if r.kind == "ram"), key=lambda r: (r.rank, r.name))
    stack = spec.reserved_stack_bytes
    return {r.name: r.size_bytes - (stack if r is ram[0] else 0) for r in ram}


def with_limits(spec: TargetSpec, limits: Mapping[str, int]) -> TargetSpec:
    """Return the target with some limits replaced, by name.

    Raises:
        LimitError: there is no such limit, or nothing here measures it: one that is not held
            is no limit.
    """
    for name in limits:
        if name not in LIMIT_NAMES:
            raise LimitError(
                f"there is no limit {name}",
                why=f"limits are: {', '.join(LIMIT_NAMES)}",
                fix="use one of these names",
            )
    spec = spec.with_limits(**limits)
    _refuse_unmeasured(spec)
    return spec


def _refuse_unmeasured(spec: TargetSpec) -> None:
    held = [*_HELD, *(_HELD_BY_RUNNING if spec.family == "mcu" else ())]
    held += _HELD_BY_TIMING if spec.runner.kind in ("native", "rpc") else ()
    for name in LIMIT_NAMES:
        if name not in held and getattr(spec.limits, name) is not None:
            raise LimitError(
                f"the limit {name} cannot be held",
                why=f"nothing measures it for the target {spec.name}; held are: {', '.join(held)}",
                fix=f"leave {name} out",
            )


def check_library_limit(spec: TargetSpec, library_bytes: int) -> None:
    """Refuse a shared library of more bytes than the target's limit.

    Raises:
        LimitError: with both numbers.
    """
    limit = spec.limits.library_bytes
    if limit is not None and library_bytes > limit:
        raise LimitError(
            f"the shared library has {library_bytes:,} bytes",
            why=f"the limit library_bytes is {limit:,}",
            fix=f"raise it with --limit library_bytes={library_bytes}, or make the model smaller",
        )


def _check_memory(
    spec: TargetSpec, plan: MemoryPlan, ram: int, most: str, tried: Sequence[str]
) -> None:
    """Refuse a plan whose last region is larger than the board's."""
    room = arena_room(spec)
    over = [r for r in plan.regions if r.name in room and r.size_bytes > room[r.name]]
    if not over:
        return
    has = " and ".join(f"{size:,} in {name}" for name, size in room.items())
    raise LimitError(
        f"the model needs {ram:,} bytes of RAM",
        why=f"beside its stack {spec.name} has {has}; {most}{_tried(tried)}",
        fix="use a target with more memory, a smaller input shape, or a smaller model",
    )


def _check(
    name: str, memory: str, needed: int, limit: int | None, most: str, tried: Sequence[str]
) -> None:
    if limit is None or needed <= limit:
        return
    raise LimitError(
        f"the model needs {needed:,} bytes of {memory}",
        why=f"the limit {name} is {limit:,}; {most}{_tried(tried)}",
        fix=f"raise it with --limit {name}={needed}, or make the model smaller",
    )


def _tried(tried: Sequence[str]) -> str:
    return f"; tried: {', '.join(tried)}" if tried else ""


def largest_buffers(program: Program, plan: MemoryPlan) -> tuple[NamedSize, ...]:
    """Return the largest tensors of the arena."""
    sizes = sorted(plan.storages.items(), key=lambda item: (-item[1].size_bytes, item[0]))
    return tuple(
        NamedSize(
            name=program.values[value].onnx_name or f"value {value}", size_bytes=place.size_bytes
        )
        for value, place in sizes[:_LARGEST]
    )


def largest_constants(program: Program) -> tuple[NamedSize, ...]:
    """Return the largest weights."""
    arrays = sorted(program.constants.items(), key=lambda item: (-item[1].nbytes, item[0]))
    return tuple(
        NamedSize(name=f"constant {'x'.join(map(str, array.shape))}", size_bytes=array.nbytes)
        for _, array in arrays[:_LARGEST]
    )


def peak_call(program: Program, plan: MemoryPlan) -> NamedSize | None:
    """Return the call during which most of the memory is in use, with the bytes; None of none."""
    alive, places = lifetimes(program), plan.storages
    needs = [
        (
            -_size(
                *_scratch(plan, index),
                *(
                    places[storage]
                    for storage, life in alive.items()
                    if life.first <= index <= life.last
                ),
            ),
            index,
        )
        for index in range(len(program.calls))
    ]
    if not needs:
        return None
    size, index = min(needs)
    return NamedSize(name=_call_name(program.calls[index]), size_bytes=-size)


def _hungriest_calls(program: Program, plan: MemoryPlan) -> tuple[NamedSize, ...]:
    """Calls by the bytes of their own tensors and scratch, those of results in place once."""
    needs = []
    places = plan.storages
    for index, call in enumerate(program.calls):
        storages = {program.values[v].storage for v in (*call.inputs, *call.outputs)}
        blocks = [places[s] for s in sorted(storages) if s in places]
        needs.append((-_size(*blocks, *_scratch(plan, index)), index))
    ranked = sorted(needs)[:_LARGEST]
    return tuple(
        NamedSize(name=_call_name(program.calls[index]), size_bytes=-size) for size, index in ranked
    )


def _scratch(plan: MemoryPlan, call: int) -> tuple[Placement, ...]:
    worker = (plan.worker_scratch[call],) if call in plan.worker_scratch else ()
    return (*plan.scratch.get(call, ()), *worker)


def _size(*blocks: Placement) -> int:
    """Bytes of blocks, those at one place once."""
    places = {(b.region, b.offset): 0 for b in blocks}
    for b in blocks:
        places[b.region, b.offset] = max(places[b.region, b.offset], b.size_bytes)
    return sum(places.values())


def _call_name(call: KernelCall) -> str:
    node = next((name for name in call.onnx_nodes if name), "")
    return f"{call.operator} of {node}" if node else call.operator


def _longest_kernels(kernels: Mapping[str, CompiledKernel]) -> tuple[NamedSize, ...]:
    ranked = sorted(kernels.values(), key=lambda kernel: (-kernel.code_bytes, kernel.name))
    return tuple(NamedSize(name=k.name, size_bytes=k.code_bytes) for k in ranked[:_LARGEST])


def _listing(items: Sequence[NamedSize]) -> str:
    return ", ".join(map(str, items)) or "nothing"


def _short(name: str) -> str:
    """Keep both ends of a long name, since exporters join names of all that they fused."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 3) // 2
    return f"{name[:half]}...{name[-half:]}"
