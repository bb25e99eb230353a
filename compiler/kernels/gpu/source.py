"""Device functions as CUDA source, all kernels of a model in one translation unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import tvm
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc

from compiler.kernels.gpu.passes import lower_to_device_code

# What kernels call, and the file that defines it.
OWN_HEADERS: Mapping[str, Path] = {
    r"\btunesmith_(product|tf32)\(": Path(__file__).parent / "tensor_cores.cuh",
    r"\btunesmith_(dot|dp4a_[su]8)\(": Path(__file__).parent / "dot_products.cuh",
}


def cuda_source(functions: Mapping[str, PrimFunc], target: tvm.target.Target) -> str:
    """Return CUDA C++ that defines the device functions under their names, sorted by name."""
    source = device_source(functions, target, "target.build.cuda")
    return f"{own_functions(source)}{source}"


def own_functions(source: str) -> str:
    """Definitions of those of our functions that a source calls; "" if none."""
    found = (path for calls, path in OWN_HEADERS.items() if re.search(calls, source))
    return "".join(f"{path.read_text(encoding='utf-8')}\n" for path in found)


def device_source(
    functions: Mapping[str, PrimFunc], target: tvm.target.Target, generator: str
) -> str:
    """Return what one of TVM's code generators makes of lowered device functions."""
    mod = IRModule({GlobalVar(name): functions[name] for name in sorted(functions)})
    built = tvm.get_global_func(generator)(lower_to_device_code(mod, target), target)
    return str(built.inspect_source())
