"""From a `Model` to the C of its kernels, for microcontrollers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from compiler.artifact.names import symbol_prefix
from compiler.code_generation import EstimatedCode, GeneratedCode, Lowering, generate_by
from compiler.onnx_import.model import Model
from compiler.program import CompiledKernel
from compiler.target_spec import TargetSpec
from compiler.toolchain import find_toolchain
from compiler.tuning.store import Records


def generate_mcu_code(
    model: Model,
    spec: TargetSpec,
    records: Records,
    *,
    exact: bool,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
    smaller: bool = False,
) -> GeneratedCode:
    """As `code_generation.generate_code`; each kernel is C, compiled by the spec's toolchain.

    `exact` changes nothing: there is no Winograd here.

    Args:
        smaller: less scratch and less code, more instructions for a run.
    """
    del exact
    from compiler.kernels.build_c import build_c_kernel

    build = partial(
        build_c_kernel,
        prefix=symbol_prefix(model.name),
        toolchain=find_toolchain(spec.toolchain.cc),
        for_size=smaller,
    )
    lowering = _lowering(spec, build, smaller=smaller)
    return generate_by(lowering, model, spec, records, jobs, dump_stages, report)


def estimate_mcu_code(
    model: Model,
    spec: TargetSpec,
    records: Records,
    *,
    exact: bool,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
    smaller: bool = False,
) -> EstimatedCode:
    """As `generate_mcu_code`, but kernels are counted, neither written as C nor compiled."""
    del exact
    from compiler.kernels.estimate_c import (
        CODE_ERROR,
        INSTRUCTION_ERROR,
        code_factor,
        estimate_c_kernel,
        run_instructions,
    )
    from compiler.kernels.work import KernelWork

    works: dict[str, KernelWork] = {}
    build = partial(estimate_c_kernel, works=works, code_factor=code_factor(spec))
    lowering = _lowering(spec, build, smaller=smaller)
    code = generate_by(lowering, model, spec, records, jobs, dump_stages, report)
    run = sum((works[call.kernel] for call in code.program.calls), KernelWork())
    return EstimatedCode(
        code=code,
        code_error=CODE_ERROR,
        # Code for size has other loops: its instructions were not fitted.
        instruction_count=None if smaller else run_instructions(run, spec),
        instruction_error=INSTRUCTION_ERROR,
    )


def _lowering(spec: TargetSpec, build: Callable[..., CompiledKernel], *, smaller: bool) -> Lowering:
    """What both do before a kernel's code: `build` makes or estimates it."""
    from compiler.stages.graph_stages import scalar_graph_stages
    from compiler.tvm_target import tvm_target
    from schedules.rules import MCU_RULES, SMALL_MCU_RULES

    target = tvm_target(spec)
    return Lowering(
        target=target,
        stages=partial(scalar_graph_stages, spec),
        build=partial(build, target=target),
        rules=SMALL_MCU_RULES if smaller else MCU_RULES,
    )
