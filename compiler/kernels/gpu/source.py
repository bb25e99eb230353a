"""Device functions as CUDA source, all kernels of a model in one translation unit."""

from __future__ import annotations

from collections.abc import Mapping

import tvm
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc

from compiler.kernels.gpu.passes import lower_to_device_code


def cuda_source(functions: Mapping[str, PrimFunc], target: tvm.target.Target) -> str:
    """Return CUDA C++ that defines the device functions under their names, sorted by name."""
    return device_source(functions, target, "target.build.cuda")


def device_source(
    functions: Mapping[str, PrimFunc], target: tvm.target.Target, generator: str
) -> str:
    """Return what one of TVM's code generators makes of lowered device functions."""
    mod = IRModule({GlobalVar(name): functions[name] for name in sorted(functions)})
    built = tvm.get_global_func(generator)(lower_to_device_code(mod, target), target)
    return str(built.inspect_source())
