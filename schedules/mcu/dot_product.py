"""Helium's sum of products as a tensor intrinsic of TIR: VMLADAV, two vectors to one number.

Sixteen products of int8, or 8 or 4 of small integers that loads widen, are added to an int32 in a
general register, exactly. Operands lie together in memory; loads need no alignment.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm.s_tir import TensorIntrin
from tvm.script import from_source

# Products of one instruction, and the bits of its lanes.
LANE_BITS: Mapping[int, int] = {16: 8, 8: 16, 4: 32}

_BUFFERS = """
    A = T.match_buffer(a, ({group},), "{dtype}", offset_factor=1)
    B = T.match_buffer(b, ({group},), "int8", offset_factor=1)
    C = T.match_buffer(c, (1,), "int32", offset_factor=1, scope="local")
    with T.sblock("root"):
        T.reads(C[0:1], A[0:{group}], B[0:{group}])
        T.writes(C[0:1])
"""
_COMPUTED = """
@T.prim_func(s_tir=True)
def computed(a: T.handle, b: T.handle, c: T.handle) -> None:
    {buffers}
        for k in range({group}):
            with T.sblock(""):
                vk = T.axis.remap("R", [k])
                C[0] = C[0] + T.Cast("int32", A[vk]) * T.Cast("int32", B[vk])
"""
_CALLED = """
@T.prim_func(s_tir=True)
def called(a: T.handle, b: T.handle, c: T.handle) -> None:
    {buffers}
        C[0] = T.call_llvm_pure_intrin("int32", "llvm.arm.mve.vmldava.v{group}i{bits}",
            0, 0, 0, C[0], {left}, {right})
"""


def dot_product_intrinsic(group: int, dtype: str) -> str | None:
    """Register the intrinsic for so many products, if it is not yet; return its name.

    None where there is no such instruction: VMLADAV has no factors of different signs, but
    unsigned ones that are widened are signed.

    Args:
        dtype: of the data; weights are int8.
    """
    if group not in LANE_BITS or dtype not in ("int8", "uint8") or (group, dtype) == (16, "uint8"):
        return None
    name = f"tunesmith_dot_product_{dtype}_{group}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        buffers = _BUFFERS.format(group=group, dtype=dtype).strip()
        left, right = (_widened(operand, group) for operand in "AB")
        computed = from_source(_COMPUTED.format(group=group, buffers=buffers))
        facts = {"group": group, "bits": LANE_BITS[group], "left": left, "right": right}
        called = from_source(_CALLED.format(buffers=buffers, **facts))
        TensorIntrin.register(name, computed, called, override=True)
    return name


def register_dot_products() -> None:
    """Register all of them: a record's steps name one where no rule was asked before."""
    for group in LANE_BITS:
        for dtype in ("int8", "uint8"):
            dot_product_intrinsic(group, dtype)


def _widened(operand: str, group: int) -> str:
    loaded = f"{operand}[T.Ramp(0, 1, {group})]"
    bits = LANE_BITS[group]
    return loaded if bits == 8 else f'T.Cast("int{bits}x{group}", {loaded})'
