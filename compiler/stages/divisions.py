"""Divisions by a constant as products: a vector divides in the time of several products."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from compiler.stages.constants import constant_array
from compiler.stages.provenance import bindings, is_call_to

# What reads a quotient one unit in the last place away gives a result as far away; what rounds or
# compares it might give another.
_SMOOTH = {"relax.erf", "relax.exp", "relax.sigmoid", "relax.tanh"}


@relax.expr_functor.mutator
class _Multiplier(relax.PyExprMutator):  # type: ignore[misc]
    """Replaces ``x / c`` where ``1 / c`` is exact or only smooth functions read the quotient."""

    def __init__(self, mod: IRModule, smooth: set[str]) -> None:
        super().__init__(mod)
        self._smooth = smooth

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        self._variable = binding.var.name
        super().visit_var_binding_(binding)

    def visit_call_(self, call: relax.Call) -> Any:
        if not is_call_to(call, "relax.divide"):
            return super().visit_call_(call)
        divisor = constant_array(call.args[1])
        factor = None if divisor is None else reciprocal(divisor)
        if divisor is None or factor is None:
            return super().visit_call_(call)
        if not is_power_of_two(divisor) and self._variable not in self._smooth:
            return super().visit_call_(call)
        return relax.op.multiply(self.visit_expr(call.args[0]), relax.const(factor))


def reciprocal(divisor: np.ndarray) -> np.ndarray | None:
    """``1 / divisor`` in float32, None where that or the divisor is not a normal number."""
    if divisor.dtype != np.float32:
        return None
    smallest = np.finfo(np.float32).tiny
    with np.errstate(divide="ignore", over="ignore"):
        factor = np.asarray(np.float32(1.0) / divisor)
    sizes = np.abs(np.stack([divisor, factor]))
    return factor if np.all(np.isfinite(sizes) & (sizes >= smallest)) else None


def is_power_of_two(numbers: np.ndarray) -> bool:
    """Whether all are, so that a product with the reciprocal is the quotient to the bit."""
    fractions, _ = np.frexp(numbers)
    return bool(np.all(np.abs(fractions) == 0.5))


def _only_smooth_readers(func: relax.Function) -> set[str]:
    """Names of the variables that nothing but smooth functions of float32 read."""
    read: set[str] = set()
    otherwise: set[str] = {func.body.body.name} if isinstance(func.body.body, relax.Var) else set()
    for binding in bindings(func):
        value = binding.value
        names = {variable.name for variable in relax.analysis.free_vars(value)}
        smooth = any(is_call_to(value, operator) for operator in _SMOOTH)
        (read if smooth else otherwise).update(names)
    return read - otherwise


def multiply_by_reciprocals(mod: IRModule) -> IRModule:
    """Return the module with products where a division by a constant gives the same.

    The same to the bit for powers of two; within one unit in the last place for what only smooth
    functions read, such as ``erf(x / sqrt(2))``.
    """
    main = mod["main"]
    out = mod.clone()
    out["main"] = _Multiplier(mod, _only_smooth_readers(main)).visit_expr(main)
    return out
