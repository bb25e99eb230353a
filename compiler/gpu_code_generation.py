"""From a `Model` to the device code of its kernels and the program that launches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compiler.code_generation import (
    EstimatedCode,
    GeneratedCode,
    Lowering,
    ModelTraits,
    generate_by,
)
from compiler.device_compiler import DeviceImage, find_device_compiler
from compiler.gpu_limits import check_device_limits, spilling
from compiler.onnx_import.model import Model
from compiler.program import CompiledKernel, IoMemory
from compiler.target_spec import Precision, TargetSpec
from compiler.tuning.store import Records


def generate_gpu_code(
    model: Model,
    spec: TargetSpec,
    records: Records,
    *,
    exact: bool,
    precision: Precision,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
    io_memory: IoMemory = "caller",
) -> GeneratedCode:
    """As `code_generation.generate_code`; all kernels are one CUDA file, compiled by nvcc or NVRTC.

    `exact` and `io_memory` change nothing: there is no Winograd here, and the arena is a session's.

    Args:
        precision: what tensor cores multiply; float32 uses none.

    Raises:
        LimitError: a kernel needs more of a block than the GPU has.
        ToolchainError: there is no compiler for CUDA, or it fails.
    """
    del exact, io_memory
    compiler = find_device_compiler()  # before time is spent on kernels
    from compiler.kernels.gpu.source import cuda_source
    from compiler.tvm_target import device_target

    assert spec.gpu is not None, spec.name
    functions: dict[str, Any] = {}
    lowering = _lowering(spec, functions, precision)
    code = generate_by(lowering, model, spec, records, jobs, dump_stages, report)
    report("device-code")
    source = cuda_source(functions, device_target(spec)) if functions else ""
    image = compiler.compile(source, spec.gpu.arch)
    kernels = {name: _with_uses(kernel, image) for name, kernel in code.kernels.items()}
    check_device_limits(spec.gpu, kernels.values())
    for symbol, spilled in spilling(kernels.values()):
        report(f"{symbol} spills {spilled} bytes of registers a thread")
    if not image.uses:
        report("no ptxas: what the kernels take of the GPU was not checked")
    return replace(code, kernels=_sorted(kernels), device_image=image)


def estimate_gpu_code(
    model: Model,
    spec: TargetSpec,
    records: Records,
    *,
    exact: bool,
    precision: Precision,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
    io_memory: IoMemory = "caller",
) -> EstimatedCode:
    """As `generate_gpu_code`, without compiling for the device: the size of its code is unknown."""
    del io_memory
    lowering, spec = gpu_lowering(model, spec, exact=exact, precision=precision)
    code = generate_by(lowering, model, spec, records, jobs, dump_stages, report)
    return EstimatedCode(code=code, code_error=None)


def gpu_lowering(
    model: ModelTraits, spec: TargetSpec, *, exact: bool, precision: Precision
) -> tuple[Lowering, TargetSpec]:
    """Return how graphs and kernels are lowered without a compiler for CUDA, and by what spec."""
    del model, exact
    return _lowering(spec, {}, precision), spec


def _lowering(spec: TargetSpec, functions: dict[str, Any], precision: Precision) -> Lowering:
    """What is done before device code; its functions are put into `functions`."""
    from compiler.kernels.gpu.build import build_gpu_kernel
    from compiler.stages.graph_stages import gpu_graph_stages
    from compiler.tvm_target import device_target, tvm_target

    return Lowering(
        target=tvm_target(spec),
        stages=partial(gpu_graph_stages, spec, precision=precision),
        build=partial(build_gpu_kernel, target=device_target(spec), functions=functions),
    )


def _with_uses(kernel: CompiledKernel, image: DeviceImage) -> CompiledKernel:
    uses = (image.uses[one.symbol] for one in kernel.launches) if image.uses else ()
    return replace(kernel, device_uses=tuple(uses))


def _sorted(kernels: Mapping[str, CompiledKernel]) -> dict[str, CompiledKernel]:
    return dict(sorted(kernels.items()))
