"""What a warp's tensor cores do, as a tensor intrinsic of TIR.

A warp multiplies 16 rows by 8 columns over some steps of the sum. Of the 128 sums a thread has
2 x 2, of several such tiles more. To TIR it is this thread that adds up products of its own rows
and columns; that it reads others of the warp's tile, for the other threads, is the affair of the
function (`compiler/kernels/gpu/tensor_cores.cuh`). So a schedule computes the same without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import from_source

# Threads of a warp as rows x columns.
LANE_ROWS, LANE_COLUMNS = 8, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Factors:
    """How factors are kept in shared memory, and how many steps one call takes."""

    bits: int
    steps: int


FACTORS: Mapping[str, Factors] = {
    "tf32": Factors(bits=32, steps=8),
    "fp16": Factors(bits=16, steps=16),
    "int8": Factors(bits=8, steps=32),  # of either sign
}
_DOT_STEPS = 4  # bytes of a word

# C[rows, columns] += A[rows, 1, steps] * B[columns, 1, steps]: between two rows of A lie those of
# other threads.
_BUFFERS = """
    A = T.match_buffer(a, ({rows}, 1, {steps}), "{left}", offset_factor=1,
        scope="shared"{a_strides})
    B = T.match_buffer(b, ({columns}, 1, {steps}), "{right}", offset_factor=1,
        scope="shared"{b_strides})
    C = T.match_buffer(c, ({rows}, {columns}), "{sums}", offset_factor=1, scope="local"{c_strides})
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
                {axes} = T.axis.remap("{kinds}", [{loops}])
                C[{row}, {column}] = C[{row}, {column}] + {product}
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
        T.evaluate(T.call_extern("void", "{function}", {rows}, {columns},
            C.access_ptr("rw"), c0, A.access_ptr("r"), a0, B.access_ptr("r"), b0{lane_stride}))
"""


def product_intrinsic(kind: str, rows: int, columns: int, dtypes: tuple[str, str]) -> str:
    """Register the intrinsic for so many sums of a thread, if it is not yet; return its name.

    Args:
        kind: which of `FACTORS`.
        dtypes: of the left and the right operand.
    """
    name = f"tunesmith_product_{_word(kind, dtypes)}_{rows}x{columns}"
    facts = _facts(rows, columns, dtypes, FACTORS[kind].steps)
    return _registered(name, {**facts, "function": "tunesmith_product", "lane_stride": ", b1"})


def dot_intrinsic(rows: int, columns: int, dtypes: tuple[str, str]) -> str:
    """The like for four products of bytes, which a thread adds up without its warp (`dp4a`)."""
    name = f"tunesmith_dot_{_word('int8', dtypes)}_{rows}x{columns}"
    facts = _facts(rows, columns, dtypes, _DOT_STEPS)
    return _registered(name, {**facts, "function": "tunesmith_dot", "lane_stride": ""})


def _word(kind: str, dtypes: tuple[str, str]) -> str:
    return kind if kind != "int8" else "_".join(dtypes)


def _facts(rows: int, columns: int, dtypes: tuple[str, str], steps: int) -> dict[str, Any]:
    left, right = dtypes
    sums = "int32" if "int8" in left else "float32"
    return {
        **{"rows": rows, "columns": columns, "steps": steps},
        **{"left": left, "right": right, "sums": sums},
    }


def _registered(name: str, facts: Mapping[str, Any]) -> str:
    if TensorIntrin.get(name, allow_missing=True) is not None:
        return name
    plain = _BUFFERS.format(**facts, a_strides="", b_strides="", c_strides="")
    strided = _BUFFERS.format(
        **facts,
        a_strides=", strides=[a0, a1, 1]",
        b_strides=", strides=[b0, b1, 1]",
        c_strides=", strides=[c0, 1]",
    )
    computed = from_source(_COMPUTED.format(**facts, buffers=plain.strip(), **_computation(facts)))
    called = from_source(_CALLED.format(**facts, buffers=strided.strip()))
    TensorIntrin.register(name, computed, called, override=True)
    return name


def _computation(facts: Mapping[str, Any]) -> dict[str, str]:
    """The block that is replaced; TVM drops axes of extent 1 before it compares."""
    rows, columns, steps = (facts[key] for key in ("rows", "columns", "steps"))
    axes = (("i", "S", rows), ("j", "S", columns), ("k", "R", steps))
    kept = [axis for axis in axes if axis[2] > 1]
    row, column = (f"v{name}" if extent > 1 else "0" for name, _, extent in axes[:2])
    product = " * ".join(
        factor if dtype == facts["sums"] else f'T.Cast("{facts["sums"]}", {factor})'
        for factor, dtype in (
            (f"A[{row}, 0, vk]", facts["left"]),
            (f"B[{column}, 0, vk]", facts["right"]),
        )
    )
    return {
        "loops": ", ".join(name for name, _, _ in kept),
        "axes": ", ".join(f"v{name}" for name, _, _ in kept),
        "kinds": "".join(kind for _, kind, _ in kept),
        **{"row": row, "column": column, "product": product},
    }
