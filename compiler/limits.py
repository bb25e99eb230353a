"""Hold a compiled model to what its target, or the user, allows."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.errors import LimitError
from compiler.memory_plan import MemoryPlan
from compiler.program import CompiledKernel, Program
from compiler.target_spec import TargetSpec
from compiler.target_tables import LIMIT_NAMES

_HELD = ("flash_bytes", "ram_bytes", "library_bytes")
_HELD_BY_RUNNING = ("stack_bytes", "instruction_count")  # a microcontroller's, in its emulator
_LARGEST = 3  # how many tensors or kernels an error names


def check_limits(
    spec: TargetSpec,
    program: Program,
    kernels: Mapping[str, CompiledKernel],
    plan: MemoryPlan,
) -> None:
    """Refuse a model that needs more RAM or flash than the target's limits.

    RAM is the planned regions, flash the kernels' code and the weights.

    Raises:
        LimitError: with the amount, the limit, and what needs most.
    """
    flash = sum(kernel.code_bytes for kernel in kernels.values())
    flash += sum(array.nbytes for array in program.constants.values())
    ram = sum(region.size_bytes for region in plan.regions)
    _check("ram_bytes", "RAM", ram, spec.limits.ram_bytes, _largest_buffers(program, plan))
    _check("flash_bytes", "flash", flash, spec.limits.flash_bytes, _largest_constants(program))


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
    held = (*_HELD, *_HELD_BY_RUNNING) if spec.family == "mcu" else _HELD
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


def _check(name: str, memory: str, needed: int, limit: int | None, largest: str) -> None:
    if limit is None or needed <= limit:
        return
    raise LimitError(
        f"the model needs {needed:,} bytes of {memory}",
        why=f"the limit {name} is {limit:,}; largest: {largest}",
        fix=f"raise it with --limit {name}={needed}, or make the model smaller",
    )


def _largest_buffers(program: Program, plan: MemoryPlan) -> str:
    sizes = sorted(plan.buffers.items(), key=lambda item: (-item[1].size_bytes, item[0]))
    names = [program.values[value].onnx_name or f"value {value}" for value, _ in sizes]
    return _listing(names, [placement.size_bytes for _, placement in sizes])


def _largest_constants(program: Program) -> str:
    arrays = sorted(program.constants.items(), key=lambda item: (-item[1].nbytes, item[0]))
    names = [f"constant {'x'.join(map(str, array.shape))}" for _, array in arrays]
    return _listing(names, [array.nbytes for _, array in arrays])


def _listing(names: list[str], sizes: list[int]) -> str:
    pairs = list(zip(names, sizes, strict=True))[:_LARGEST]
    return ", ".join(f"{name} ({size:,} bytes)" for name, size in pairs) or "nothing"
