"""A model's kernels as a GPU target schedules them, in OpenCL or in CUDA C++."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm.ir import IRModule
from tvm.target import Target
from tvm.tirx import PrimFunc

from compiler.kernels.gpu.launches import launched_kernel
from compiler.kernels.gpu.source import cuda_source
from compiler.onnx_import.model import Model
from compiler.relax_program import extract_program
from compiler.scheduling import distinct_workloads, schedule_kernel
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.tvm_target import device_target
from tests.lowered import staged
from tests.opencl_run import OpenClKernel, OpenClProgram
from tests.opencl_source import opencl_source


def opencl_program(
    model: Model, spec: TargetSpec | None = None, precision: Precision = "float32"
) -> OpenClProgram:
    """The model as `compile` makes it for a GPU, but in OpenCL, which has no fp16 here."""
    spec = spec or load_target("cuda-sm80")
    target = device_target(spec, "opencl")
    mod = staged(model, spec, precision=precision)
    return _program(model, spec, mod, target, opencl_source)


def cuda_program(
    model: Model, spec: TargetSpec | None = None, precision: Precision = "float32"
) -> OpenClProgram:
    """The model as `compile` makes it for a GPU, each kernel a CUDA file of its own."""
    spec = spec or load_target("cuda-sm80")
    mod = staged(model, spec, precision=precision)
    return _program(model, spec, mod, device_target(spec), cuda_source)


def _program(
    model: Model,
    spec: TargetSpec,
    mod: IRModule,
    target: Target,
    source: Callable[[Mapping[str, PrimFunc], Target], str],
) -> OpenClProgram:
    found = distinct_workloads(mod, extract_program(mod, model))
    kernels = {}
    for name, func in found.functions.items():
        scheduled = schedule_kernel(name, func, found.input_counts[name], spec)
        launched = launched_kernel(scheduled.func, name, target)
        kernels[name] = OpenClKernel(
            source=source(launched.functions, target),
            launches=launched.launches,
            scratch_bytes=launched.scratch_bytes,
            outcome=scheduled.outcome,
        )
    return OpenClProgram(program=found.program, kernels=kernels)
