"""The kernels of a model as OpenCL, made from the same scheduled functions as the CUDA code."""

from __future__ import annotations

import re
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

# The like for bytes, of each pair of types, and `dot_products.cuh`.
_BYTES = """
__attribute__((overloadable))
void tunesmith_FUNCTION(int rows, int columns, int *sums, int sums_stride,
                        __local const LEFT *left, int left_stride, __local const RIGHT *right,
                        int right_strideLANE) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j)
      for (int k = 0; k < STEPS; ++k)
        sums[i * sums_stride + j] += (int)left[i * left_stride + k] * right[j * right_stride + k];
}
"""
_WORDS = """
int tunesmith_dp4a_s8(int data, int weights) {
  const char4 a = as_char4(data), b = as_char4(weights);
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}
int tunesmith_dp4a_u8(int data, int weights) {
  const uchar4 a = as_uchar4(data);
  const char4 b = as_char4(weights);
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}
"""


def _byte_functions() -> str:
    found = [_WORDS]
    for left in ("char", "uchar"):
        for right in ("char", "uchar"):
            for name, lane, steps in (("product", ", int lane_stride", 32), ("dot", "", 4)):
                facts = {"FUNCTION": name, "LANE": lane, "STEPS": str(steps)}
                text = _BYTES
                for word, fact in {**facts, "LEFT": left, "RIGHT": right}.items():
                    text = text.replace(word, fact)
                found.append(text)
    return "".join(found)


def opencl_source(functions: Mapping[str, PrimFunc], target: tvm.target.Target) -> str:
    """OpenCL C of lowered device functions."""
    renamed = "".join(f"#define {name}f {name}\n" for name in _FUNCTIONS)
    exact = {name: _exact_floats(func) for name, func in functions.items()}
    source = device_source(exact, target, "target.build.opencl")
    ours = _TENSOR_CORES if "tunesmith_tf32(" in source else ""
    if ours == "" and re.search(r"tunesmith_(product|dot|dp4a)", source):
        ours = _byte_functions()
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
