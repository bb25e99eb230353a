"""From a `Model` to the C or the objects of its kernels, for microcontrollers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from compiler.artifact.names import symbol_prefix
from compiler.code_generation import GeneratedCode, Lowering, generate_by
from compiler.onnx_import.model import Model
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
    """As `code_generation.generate_code`; kernels are C that the toolchain compiles, or LLVM's.

    `exact` changes nothing: there is no Winograd here.

    Args:
        smaller: less scratch and less code, more instructions for a run: always C, without vectors.
    """
    del exact
    if spec.has_llvm_kernels and not smaller:
        lowering = _objects(spec)
    else:
        spec = spec.with_c_kernels()
        lowering = _c_sources(spec, symbol_prefix(model.name), smaller=smaller)
    return generate_by(lowering, model, spec, records, jobs, dump_stages, report)


def _objects(spec: TargetSpec) -> Lowering:
    from compiler.kernels.build_object import build_object_kernel
    from compiler.stages.graph_stages import mcu_graph_stages
    from compiler.tvm_target import tvm_target

    target, toolchain = tvm_target(spec), find_toolchain(spec.toolchain.cc)
    return Lowering(
        target=target,
        stages=partial(mcu_graph_stages, spec),
        build=partial(build_object_kernel, target=target, toolchain=toolchain),
    )


def _c_sources(spec: TargetSpec, prefix: str, *, smaller: bool) -> Lowering:
    from compiler.kernels.build_c import build_c_kernel
    from compiler.stages.graph_stages import mcu_graph_stages
    from compiler.tvm_target import tvm_target
    from schedules.rules import MCU_RULES, SMALL_MCU_RULES

    target = tvm_target(spec)
    return Lowering(
        target=target,
        stages=partial(mcu_graph_stages, spec),
        build=partial(
            build_c_kernel,
            target=target,
            prefix=prefix,
            toolchain=find_toolchain(spec.toolchain.cc),
            for_size=smaller,
        ),
        rules=SMALL_MCU_RULES if smaller else MCU_RULES,
    )
