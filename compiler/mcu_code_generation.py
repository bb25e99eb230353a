"""From a `Model` to the C or the objects of its kernels, for microcontrollers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.artifact.names import symbol_prefix
from compiler.code_generation import (
    EstimatedCode,
    GeneratedCode,
    Lowering,
    ModelTraits,
    generate_by,
)
from compiler.onnx_import.model import Model
from compiler.program import CompiledKernel, IoMemory
from compiler.target_spec import Precision, TargetSpec
from compiler.toolchain import find_toolchain
from compiler.tuning.store import Records

if TYPE_CHECKING:
    from compiler.kernels.work import KernelWork


def generate_mcu_code(
    model: Model,
    spec: TargetSpec,
    records: Records,
    *,
    exact: bool,
    precision: Precision,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
    smaller: bool = False,
    io_memory: IoMemory = "caller",
) -> GeneratedCode:
    """As `code_generation.generate_code`; kernels are C that the toolchain compiles, or LLVM's.

    `exact` and `precision` change nothing: there is no Winograd here, and nothing but float32.

    Args:
        smaller: less scratch and less code, more instructions for a run: always C, without vectors.
        io_memory: "arena" gives inputs and outputs places among the buffers. Kernels then rely on
            being called in order, as they are here, to write over what they have read.
    """
    lowering, spec = mcu_code_lowering(
        model, spec, exact=exact, precision=precision, smaller=smaller, io_memory=io_memory
    )
    return generate_by(lowering, model, spec, records, jobs, dump_stages, report)


def mcu_code_lowering(
    model: ModelTraits,
    spec: TargetSpec,
    *,
    exact: bool,
    precision: Precision,
    smaller: bool = False,
    io_memory: IoMemory = "caller",
) -> tuple[Lowering, TargetSpec]:
    """Return how graphs and kernels become code by the target's toolchain, and by what spec."""
    del exact, precision
    from compiler.kernels.build_c import build_c_kernel
    from compiler.kernels.build_object import build_object_kernel

    toolchain = find_toolchain(spec.toolchain.cc)
    if spec.has_llvm_kernels and not smaller:
        build = partial(build_object_kernel, toolchain=toolchain)
        return _lowering(model, spec, build, io_memory), spec
    spec = spec.with_c_kernels()
    prefix = symbol_prefix(model.name)
    build = partial(build_c_kernel, prefix=prefix, toolchain=toolchain, for_size=smaller)
    return _lowering(model, spec, build, io_memory, smaller=smaller), spec


def estimate_mcu_code(
    model: Model,
    spec: TargetSpec,
    records: Records,
    *,
    exact: bool,
    precision: Precision,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
    smaller: bool = False,
    io_memory: IoMemory = "caller",
) -> EstimatedCode:
    """As `generate_mcu_code`, without the target's toolchain.

    What would be C is counted, neither written nor compiled; LLVM's objects are not linked.
    """
    from compiler.kernels.build_object import LINK_ERROR
    from compiler.kernels.estimate_c import CODE_ERROR, INSTRUCTION_ERROR, run_instructions
    from compiler.kernels.work import KernelWork

    works: dict[str, KernelWork] = {}
    lowering, spec = mcu_lowering(
        model,
        spec,
        exact=exact,
        precision=precision,
        smaller=smaller,
        io_memory=io_memory,
        works=works,
    )
    code = generate_by(lowering, model, spec, records, jobs, dump_stages, report)
    if spec.has_llvm_kernels:
        return EstimatedCode(code=code, code_error=LINK_ERROR)
    run = sum((works[call.kernel] for call in code.program.calls), KernelWork())
    return EstimatedCode(
        code=code,
        code_error=CODE_ERROR,
        # Code for size has other loops: its instructions were not fitted.
        instruction_count=None if smaller else run_instructions(run, spec),
        instruction_error=INSTRUCTION_ERROR,
    )


def mcu_lowering(
    model: ModelTraits,
    spec: TargetSpec,
    *,
    exact: bool,
    precision: Precision,
    smaller: bool = False,
    io_memory: IoMemory = "caller",
    works: dict[str, KernelWork] | None = None,
) -> tuple[Lowering, TargetSpec]:
    """Return how graphs and kernels are lowered without the target's toolchain, and by what spec.

    Args:
        works: what kernels that would be C do is put into it.
    """
    del exact, precision
    from compiler.kernels.build_object import unlinked_object_kernel
    from compiler.kernels.estimate_c import code_factor, estimate_c_kernel

    if spec.has_llvm_kernels and not smaller:
        return _lowering(model, spec, unlinked_object_kernel, io_memory), spec
    spec = spec.with_c_kernels()
    counted = {} if works is None else works
    build = partial(estimate_c_kernel, works=counted, code_factor=code_factor(spec))
    return _lowering(model, spec, build, io_memory, smaller=smaller), spec


def _lowering(
    model: ModelTraits,
    spec: TargetSpec,
    build: Callable[..., CompiledKernel],
    io_memory: IoMemory,
    *,
    smaller: bool = False,
) -> Lowering:
    """What both do before a kernel's code: `build` makes or estimates it."""
    from compiler.stages.graph_stages import mcu_graph_stages
    from compiler.tvm_target import tvm_target
    from schedules.rules import SMALL_MCU_RULES

    target = tvm_target(spec)
    return Lowering(
        target=target,
        stages=partial(mcu_graph_stages, spec, weights=model.weights),
        build=partial(build, target=target, in_order=io_memory == "arena"),
        rules=SMALL_MCU_RULES if smaller else None,
        io_memory=io_memory,
    )
