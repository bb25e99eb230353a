"""From a `Model` to the C of its kernels, for microcontrollers."""

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
) -> GeneratedCode:
    """As `code_generation.generate_code`; each kernel is C, compiled by the spec's toolchain.

    `exact` changes nothing: there is no Winograd here.
    """
    del exact
    import tvm

    from compiler.kernels.build_c import build_c_kernel
    from compiler.stages.graph_stages import scalar_graph_stages

    lowering = Lowering(
        target=tvm.target.Target({"kind": "c"}),
        stages=scalar_graph_stages(spec),
        build=partial(
            build_c_kernel,
            prefix=symbol_prefix(model.name),
            toolchain=find_toolchain(spec.toolchain.cc),
        ),
    )
    return generate_by(lowering, model, spec, records, jobs, dump_stages, report)
