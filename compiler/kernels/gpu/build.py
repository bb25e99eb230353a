"""One scheduled PrimFunc to one `CompiledKernel` of launches, and its device functions."""

from __future__ import annotations

from collections.abc import MutableMapping

import tvm
from tvm.tirx import PrimFunc

from compiler.kernels.build import no_code, refuse_runtime_calls
from compiler.kernels.gpu.launches import launched_kernel
from compiler.kernels.in_place import in_place_pairs
from compiler.program import CompiledKernel, KernelMemory, ScheduleOutcome


def build_gpu_kernel(
    func: PrimFunc,
    *,
    name: str,
    input_count: int,
    outcome: ScheduleOutcome,
    target: tvm.target.Target,
    functions: MutableMapping[str, PrimFunc],
) -> CompiledKernel:
    """Return the launches of a scheduled kernel; its device functions are put into `functions`.

    All kernels of a model are compiled together, by `source.cuda_source` and nvcc.

    Raises:
        UnsupportedError: the kernel needs TVM's runtime library.
        LoweringError: TVM cannot lower it.
    """
    refuse_runtime_calls(func, name)
    pairs = in_place_pairs(func, input_count)
    if pairs:  # the two pointers may be equal: nvcc must not be told otherwise
        func = func.without_attr("tirx.noalias")
    try:
        kernel = launched_kernel(func, name, target)
    except Exception as cause:  # TVM's checks raise many kinds
        raise no_code(name, cause) from cause
    functions.update(kernel.functions)
    return CompiledKernel(
        name=name,
        phases=(),
        memory=KernelMemory(scratch_bytes=kernel.scratch_bytes, in_place=pairs),
        schedule=outcome,
        object_code=b"",
        code_bytes=0,
        launches=kernel.launches,
    )
