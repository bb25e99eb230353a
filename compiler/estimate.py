"""What a build will need of each thing that its target limits, before it is built.

Graph, schedules, order of calls and memory plan are those of the build, so memory is exact. Code
is LLVM's where LLVM makes it; what needs a target's own compiler or an emulator is estimated, and
says by how much it may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from compiler.artifact.library_size import LIBRARY_ERROR
from compiler.code_generation import EstimatedCode
from compiler.errors import LimitError
from compiler.families import FamilyBuild, family_build
from compiler.fit import Fitted
from compiler.io_memory import require_io_memory
from compiler.limits import (
    NamedSize,
    arena_room,
    check_limits,
    largest_buffers,
    largest_constants,
    peak_call,
)
from compiler.onnx_import.model import Model
from compiler.onnx_import.support import require_supported
from compiler.program import FloatQuantizer, IoMemory
from compiler.target_spec import TargetSpec
from compiler.tuning.store import NO_RECORDS


class Verdict(StrEnum):
    """How a need compares with its limit."""

    FITS = "fits"
    CLOSE = "close"  # the limit lies within the error of the estimate
    DOES_NOT_FIT = "does not fit"
    NOT_ESTIMATED = "not estimated"
    NO_LIMIT = "no limit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """The need of one thing, and its limit."""

    limit: str  # the name of a limit, or "memory NAME" of a board's RAM
    what: str  # what is counted, or why nothing is
    need: int | None  # bytes or instructions; None if it is not estimated
    error: int  # the true need lies within need +- error
    most: int | None  # the limit; None: there is none
    is_least: bool = False  # the need is known to be more, not by how much

    @property
    def verdict(self) -> Verdict:
        if self.most is None:
            return Verdict.NO_LIMIT
        if self.need is None:
            return Verdict.NOT_ESTIMATED
        if self.need - self.error > self.most:
            return Verdict.DOES_NOT_FIT
        if self.is_least:
            return Verdict.NOT_ESTIMATED
        return Verdict.FITS if self.need + self.error <= self.most else Verdict.CLOSE


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The needs of a model on one target, and what needs most of them."""

    target: str
    amounts: tuple[Amount, ...]
    weight_bytes: int
    code_bytes: int | None
    kernel_calls: int
    peak: NamedSize | None  # the call during which most of the arena is alive
    largest_tensors: tuple[NamedSize, ...]
    largest_weights: tuple[NamedSize, ...]
    float_quantizers: tuple[FloatQuantizer, ...]  # quantized operators that stay float, and why
    is_smaller_code: bool  # slower code with less scratch: the usual one is over a limit


def estimate(
    model: Model,
    spec: TargetSpec,
    *,
    io_memory: IoMemory = "caller",
    jobs: int = 1,
    report: Callable[[str], None] = lambda _: None,
) -> Estimate:
    """Return what `compile` will need for the same model and target and otherwise default options.

    Args:
        spec: with the limits to compare with (`limits.with_limits`).
        io_memory: as `compile` has it.
        jobs: how many kernels are worked on at a time.
        report: called with the name of each step before it starts.

    Raises:
        UnsupportedError: the model cannot be compiled.
        TargetError: the target's arena is not the caller's.
    """
    require_io_memory(spec, io_memory)
    require_supported(model)
    family = family_build(spec)
    generate = partial(
        family.estimate_code,
        model,
        spec,
        NO_RECORDS,
        exact=False,
        precision="float32",
        jobs=jobs,
        dump_stages=None,
        report=report,
        io_memory=io_memory,
    )
    estimated = generate()
    placed = family.place(estimated.code, spec)
    is_smaller = family.may_be_smaller and _is_over(spec, placed)
    if is_smaller:
        estimated = generate(smaller=True)
        placed = family.place(estimated.code, spec)
    return _estimate(spec, family, estimated, placed, is_smaller)


def _is_over(spec: TargetSpec, placed: Fitted) -> bool:
    try:
        check_limits(spec, placed.code.program, placed.code.kernels, placed.plan)
    except LimitError:
        return True
    return False


def _estimate(
    spec: TargetSpec,
    family: FamilyBuild,
    estimated: EstimatedCode,
    placed: Fitted,
    is_smaller: bool,
) -> Estimate:
    code, plan = placed.code, placed.plan
    weights = sum(array.nbytes for array in code.program.constants.values())
    kernels = code.kernels.values()
    code_bytes = (
        None if estimated.code_error is None else sum(kernel.code_bytes for kernel in kernels)
    )
    amounts = [
        *_memory(spec, placed),
        _flash(spec, weights, code_bytes, estimated.code_error),
        _library(spec, family, placed, weights),
        *(_running(spec, estimated) if spec.family == "mcu" else ()),
    ]
    return Estimate(
        target=spec.name,
        amounts=tuple(amounts),
        weight_bytes=weights,
        code_bytes=code_bytes,
        kernel_calls=len(code.program.calls),
        peak=peak_call(code.program, plan),
        largest_tensors=largest_buffers(code.program, plan),
        largest_weights=largest_constants(code.program),
        float_quantizers=code.program.float_quantizers,
        is_smaller_code=is_smaller,
    )


def _memory(spec: TargetSpec, placed: Fitted) -> list[Amount]:
    """The arena, and its part in each RAM of a board."""
    room = arena_room(spec) if spec.memory else {}
    held = " with inputs and outputs" if placed.code.program.io_memory == "arena" else ""
    used = {region.name: region.size_bytes for region in placed.plan.regions}
    total = Amount(
        limit="ram_bytes",
        what=f"arena{held}" if spec.gpu is None else "arena in device memory",
        need=sum(used.values()),
        error=0,
        most=spec.limits.ram_bytes,
    )
    return [
        total,
        *(
            Amount(
                limit=f"memory {name}",
                what="arena beside the stack" if number == 0 else "arena",
                need=used.get(name, 0),
                error=0,
                most=size,
            )
            for number, (name, size) in enumerate(room.items())
        ),
    ]


def _flash(
    spec: TargetSpec, weights: int, code_bytes: int | None, code_error: float | None
) -> Amount:
    return Amount(
        limit="flash_bytes",
        what="weights" if code_bytes is None else "weights and code",
        need=weights + (code_bytes or 0),
        error=round((code_bytes or 0) * (code_error or 0)),
        most=spec.limits.flash_bytes,
        is_least=code_bytes is None,
    )


def _library(spec: TargetSpec, family: FamilyBuild, placed: Fitted, weights: int) -> Amount:
    most = spec.limits.library_bytes
    if family.library_bytes is None:
        return Amount(
            limit="library_bytes", what="weights", need=weights, error=0, most=most, is_least=True
        )
    beside = family.library_bytes(placed.code.kernels.values())
    return Amount(
        limit="library_bytes",
        what="library",
        need=weights + beside,
        error=round(beside * LIBRARY_ERROR),
        most=most,
    )


def _running(spec: TargetSpec, estimated: EstimatedCode) -> tuple[Amount, Amount]:
    """What `compile` measures in the emulator."""
    count = estimated.instruction_count
    instructions = Amount(
        limit="instruction_count",
        what="instructions of a run" if count is not None else "counted by compile",
        need=count,
        error=round((count or 0) * estimated.instruction_error),
        most=spec.limits.instruction_count,
    )
    stack = Amount(
        limit="stack_bytes",
        what="measured by compile",
        need=None,
        error=0,
        most=spec.limits.stack_bytes,
    )
    return instructions, stack
