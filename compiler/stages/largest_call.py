"""How much memory a graph takes at least, before its kernels are known."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import relax

from compiler.program import ELEMENT_BYTES
from compiler.stages.layout_wishes import ELEMENTWISE_BINARY, ELEMENTWISE_UNARY
from compiler.stages.operand_views import shape_of
from compiler.stages.provenance import bindings


def largest_call_bytes(main: relax.Function) -> int:
    """The most that one operator reads and writes: about what the arena will be at least."""

    def size(value: Any) -> int:
        if not isinstance(value, relax.Var) or not isinstance(value.ty, relax.TensorType):
            return 0  # a constant, or a tuple of values that are counted where they are made
        return prod(shape_of(value)) * ELEMENT_BYTES[str(value.ty.dtype)]

    # Element-wise operators are fused with what makes their operands.
    fused = ELEMENTWISE_UNARY | ELEMENTWISE_BINARY
    operands = [
        (binding.var, *binding.value.args)
        for binding in bindings(main)
        if isinstance(binding.value, relax.Call)
        and getattr(binding.value.op, "name", "") not in fused
    ]
    return max((sum(map(size, values)) for values in operands), default=0)
