"""A model's kernels as a GPU target schedules them, in OpenCL."""

from __future__ import annotations

from compiler.kernels.gpu.launches import launched_kernel
from compiler.onnx_import.model import Model
from compiler.relax_program import extract_program
from compiler.scheduling import distinct_workloads, schedule_kernel
from compiler.target_spec import TargetSpec, load_target
from compiler.tvm_target import device_target
from tests.lowered import staged
from tests.opencl_run import OpenClKernel, OpenClProgram
from tests.opencl_source import opencl_source


def opencl_program(model: Model, spec: TargetSpec | None = None) -> OpenClProgram:
    """The model as `compile` makes it for a GPU, but in OpenCL."""
    spec = spec or load_target("cuda-sm80")
    target = device_target(spec, "opencl")
    mod = staged(model, spec)
    found = distinct_workloads(mod, extract_program(mod, model))
    kernels = {}
    for name, func in found.functions.items():
        scheduled = schedule_kernel(name, func, found.input_counts[name], spec)
        launched = launched_kernel(scheduled.func, name, target)
        kernels[name] = OpenClKernel(
            source=opencl_source(launched.functions, target),
            launches=launched.launches,
            scratch_bytes=launched.scratch_bytes,
            outcome=scheduled.outcome,
        )
    return OpenClProgram(program=found.program, kernels=kernels)
