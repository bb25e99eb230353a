"""What a warp's tensor cores do, as a tensor intrinsic of TIR.

A warp multiplies 16 rows by 8 columns over some steps of the sum. Of the 128 sums a thread has
2 x 2, of several such tiles more. To TIR it is this thread that adds up products of its own rows
and columns; that it reads others of the warp's tile, for the other threads, is the affair of the
function (`compiler/kernels/gpu/tensor_cores.cuh`). So a schedule computes the same without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm.s_tir import TensorIntrin
from tvm.script import from_source

from compiler.target_spec import Precision

# Threads of a warp as rows x columns.
LANE_ROWS, LANE_COLUMNS = 8, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Factors:
    """How factors are kept in shared memory, and how many steps one call takes."""

    dtype: str
    bits: int
    steps: int


FACTORS: Mapping[Precision, Factors] = {
    "tf32": Factors(dtype="float32", bits=32, steps=8),
    "fp16": Factors(dtype="float16", bits=16, steps=16),
}

# C[rows, columns] += A[rows, 1, steps] * B[columns, 1, steps]: between two rows of A lie those of
# other threads.
_BUFFERS = """
    A = T.match_buffer(a, ({rows}, 1, {steps}), "{dtype}", offset_factor=1,
        scope="shared"{a_strides})
    B = T.match_buffer(b, ({columns}, 1, {steps}), "{dtype}", offset_factor=1,
        scope="shared"{b_strides})
    C = T.match_buffer(c, ({rows}, {columns}), "float32", offset_factor=1, scope="local"{c_strides})
    with T.sblock("root"):
        T.reads(C[0:{rows}, 0:{columns}], A[0:{rows}, 0:1, 0:{steps}],
            B[0:{columns}, 0:1, 0:{steps}])
        T.writes(C[0:{rows}, 0:{columns}])
"""
_COMPUTED = """
@T.prim_func(s_tir=True)
def computed(a: T.handle, b: T.handle, c: T.handle) -> None:
    {buffers}
        for i, j, k in T.grid({rows}, {columns}, {steps}):
            with T.sblock(""):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                C[vi, vj] = C[vi, vj] + {product}
"""
_CALLED = """
@T.prim_func(s_tir=True)
def called(a: T.handle, b: T.handle, c: T.handle) -> None:
    a0 = T.int32()
    a1 = T.int32()
    b0 = T.int32()
    b1 = T.int32()
    c0 = T.int32()
    {buffers}
        T.evaluate(T.call_extern("void", "tunesmith_product", {rows}, {columns},
            C.access_ptr("rw"), c0, A.access_ptr("r"), a0, B.access_ptr("r"), b0, b1))
"""
_PRODUCTS = {
    "float32": "A[vi, 0, vk] * B[vj, 0, vk]",
    "float16": 'T.Cast("float32", A[vi, 0, vk]) * T.Cast("float32", B[vj, 0, vk])',
}


def product_intrinsic(precision: Precision, rows: int, columns: int) -> str:
    """Register the intrinsic for so many sums of a thread, if it is not yet; return its name."""
    name = f"tunesmith_product_{precision}_{rows}x{columns}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        factors = FACTORS[precision]
        facts = {"steps": factors.steps, "dtype": factors.dtype, "rows": rows, "columns": columns}
        plain = _BUFFERS.format(**facts, a_strides="", b_strides="", c_strides="")
        strided = _BUFFERS.format(
            **facts,
            a_strides=", strides=[a0, a1, 1]",
            b_strides=", strides=[b0, b1, 1]",
            c_strides=", strides=[c0, 1]",
        )
        product = _PRODUCTS[factors.dtype]
        computed = from_source(_COMPUTED.format(**facts, buffers=plain.strip(), product=product))
        called = from_source(_CALLED.format(**facts, buffers=strided.strip()))
        TensorIntrin.register(name, computed, called, override=True)
    return name
