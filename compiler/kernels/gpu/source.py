"""Device functions as CUDA source, all kernels of a model in one translation unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import tvm
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc

from compiler.kernels.gpu.passes import lower_to_device_code

TENSOR_CORES = Path(__file__).parent / "tensor_cores.cuh"
_CALLS_OURS = re.compile(r"\btunesmith_(product|tf32)\(")


def cuda_source(functions: Mapping[str, PrimFunc], target: tvm.target.Target) -> str:
    """Return CUDA C++ that defines the device functions under their names, sorted by name."""
    source = device_source(functions, target, "target.build.cuda")
    return f"{TENSOR_CORES.read_text()}\n{source}" if _CALLS_OURS.search(source) else source


def device_source(
    functions: Mapping[str, PrimFunc], target: tvm.target.Target, generator: str
) -> str:
    """Return what one of TVM's code generators makes of lowered device functions."""
    mod = IRModule({GlobalVar(name): functions[name] for name in sorted(functions)})
    built = tvm.get_global_func(generator)(lower_to_device_code(mod, target), target)
    return str(built.inspect_source())
