"""The kernels of a model as OpenCL, made from the same scheduled functions as the CUDA code."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.gpu.source import device_source

# OpenCL C has the functions of C's mathematics for every type, without the suffix of float's.
_FUNCTIONS = ("asin", "acos", "atan", "sinh", "cosh", "tan", "asinh", "acosh", "atanh")


# What a warp's tensor cores do, by each thread for itself: the function of `tensor_cores.cuh`.
_TENSOR_CORES = """
float tunesmith_tf32(float value) { return as_float((as_uint(value) + 0x1000u) & ~0x1fffu); }
void tunesmith_product(int rows, int columns, float *sums, int sums_stride,
                       __local const float *left, int left_stride, __local const float *right,
                       int right_stride, int lane_stride) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j)
      for (int k = 0; k < 8; ++k)
        sums[i * sums_stride + j] += left[i * left_stride + k] * right[j * right_stride + k];
}
"""


def opencl_source(functions: Mapping[str, PrimFunc], target: tvm.target.Target) -> str:
    """OpenCL C of lowered device functions."""
    renamed = "".join(f"#define {name}f {name}\n" for name in _FUNCTIONS)
    exact = {name: _exact_floats(func) for name, func in functions.items()}
    source = device_source(exact, target, "target.build.opencl")
    ours = _TENSOR_CORES if "tunesmith_product(" in source else ""
    return renamed + ours + source


def _exact_floats(func: PrimFunc) -> PrimFunc:
    """Write float32 constants by their bits: TVM's OpenCL prints 7 digits, its CUDA all bits."""

    def visit(constant: Any, _mutator: Any) -> Any:
        value = float(constant.value)
        if str(constant.ty.dtype) != "float32" or float(f"{value:e}") == np.float32(value):
            return constant
        (bits,) = struct.unpack("<i", struct.pack("<f", value))
        return tirx.call_pure_extern("float32", "as_float", tirx.const(bits, "int32"))

    return func.with_body(structural.structural_mutate(func.body, [(tirx.FloatImm, visit)]))
