"""Sums that many elements of a result read are kernels of their own.

FuseOps would fuse the product ``x * sigmoid(conv(pooled))`` of a squeeze-and-excitation block into
the convolution, whose one number for a channel would then be computed for each of its positions.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import relax
from tvm.ir import IRModule

from compiler.stages.provenance import bindings, is_call_to

# Values of a PrimFunc's attribute `op_pattern`, Relax's OpPatternKind.
_PATTERN = "op_pattern"
_BROADCAST, _INJECTIVE, _REDUCTION, _SUM_WITH_EPILOGUE = 1, 2, 3, 4


def keep_sums_apart(mod: IRModule) -> IRModule:
    """Return the module whose calls do not follow a sum into its kernel where they repeat it.

    A call is marked injective, which no sum takes as its epilogue, if an operand that comes from a
    sum, perhaps through element-wise calls, has fewer elements than its result. Each call must
    have a PrimFunc of its own (`separate_calls`).
    """
    out = mod.clone()
    sums: dict[Any, int] = {}  # variable that a sum and its epilogue make -> its elements
    for binding in bindings(mod["main"]):
        call = binding.value
        if not is_call_to(call, "relax.call_tir"):
            continue
        callee, size = call.args[0], _elements(binding.var)
        pattern = _pattern(mod[callee])
        read = [sums[argument] for argument in call.args[1].fields if argument in sums]
        if pattern in (_REDUCTION, _SUM_WITH_EPILOGUE):
            sums[binding.var] = size
        elif pattern <= _BROADCAST and any(elements < size for elements in read):
            out[callee] = mod[callee].with_attr(_PATTERN, _INJECTIVE)
        elif pattern <= _BROADCAST and read:
            sums[binding.var] = size
    return out


def _pattern(func: Any) -> int:
    return int(func.attrs[_PATTERN])


def _elements(variable: relax.Var) -> int:
    shape = getattr(variable.ty, "shape", None)
    return prod(int(extent) for extent in shape.values) if shape is not None else 0
