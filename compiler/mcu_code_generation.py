"""From a `Model` to the C of its kernels, for microcontrollers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from compiler.artifact.names import symbol_prefix
from compiler.code_generation import GeneratedCode, Lowering, generate_by
from compiler.onnx_import.model import Model
from compiler.target_spec import Precision, TargetSpec
from compiler.toolchain import find_toolchain
from compiler.tuning.store import Records


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
) -> GeneratedCode:
    """As `code_generation.generate_code`; each kernel is C, compiled by the spec's toolchain.

    `exact` and `precision` change nothing: there is no Winograd here, and nothing but float32.

    Args:
        smaller: less scratch and less code, more instructions for a run.
    """
    del exact, precision
    from compiler.kernels.build_c import build_c_kernel
    from compiler.stages.graph_stages import scalar_graph_stages
    from compiler.tvm_target import tvm_target
    from schedules.rules import MCU_RULES, SMALL_MCU_RULES

    target = tvm_target(spec)
    lowering = Lowering(
        target=target,
        stages=partial(scalar_graph_stages, spec),
        build=partial(
            build_c_kernel,
            target=target,
            prefix=symbol_prefix(model.name),
            toolchain=find_toolchain(spec.toolchain.cc),
            for_size=smaller,
        ),
        rules=SMALL_MCU_RULES if smaller else MCU_RULES,
    )
    return generate_by(lowering, model, spec, records, jobs, dump_stages, report)
