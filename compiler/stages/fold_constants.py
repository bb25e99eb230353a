"""Evaluate with NumPy what depends on constants only: dequantized weights, reshaped biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst, IRModule

Evaluator = Callable[[relax.Call, list[np.ndarray]], np.ndarray]


def _shape_of(call: relax.Call) -> tuple[int, ...]:
    return tuple(int(extent) for extent in call.ty.shape.values)


def _reshape(call: relax.Call, arguments: list[np.ndarray]) -> np.ndarray:
    return arguments[0].reshape(_shape_of(call))


def _permute(call: relax.Call, arguments: list[np.ndarray]) -> np.ndarray:
    axes = call.attrs.axes
    order = None if axes is None else [int(axis) for axis in axes]
    return np.ascontiguousarray(arguments[0].transpose(order))


def _dequantize(call: relax.Call, arguments: list[np.ndarray]) -> np.ndarray:
    """``scale * (q - zero_point)`` in float32, the difference exact in int32, as ONNX has it."""
    data, scale, zero_point = arguments

    def along_axis(factor: np.ndarray) -> np.ndarray:
        if factor.size == 1:
            return factor.reshape(())
        shape = [1] * data.ndim
        shape[int(call.attrs.axis) % data.ndim] = factor.size
        return factor.reshape(shape)

    difference = data.astype(np.int32) - along_axis(zero_point.astype(np.int32))
    product: np.ndarray = difference.astype(np.float32) * along_axis(scale.astype(np.float32))
    return product


_EVALUATORS: dict[str, Evaluator] = {
    "relax.reshape": _reshape,
    "relax.expand_dims": _reshape,
    "relax.squeeze": _reshape,
    "relax.flatten": _reshape,
    "relax.permute_dims": _permute,
    "relax.dequantize": _dequantize,
}


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):  # type: ignore[misc]
    """Replaces calls whose tensor operands are all constants."""

    def visit_call_(self, call: relax.Call) -> Any:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        evaluate = _EVALUATORS.get(name)
        if evaluate is None:
            return call
        tensors = [a for a in call.args if not isinstance(a, relax.ShapeExpr)]
        values = [self._constant(argument) for argument in tensors]
        known = [value for value in values if value is not None]
        if len(known) != len(values):
            return call
        return relax.const(evaluate(call, known))

    def _constant(self, argument: Any) -> np.ndarray | None:
        if isinstance(argument, relax.Var):
            argument = self.lookup_binding(argument)
        if not isinstance(argument, GenericConst):
            return None
        return np.asarray(argument.value.numpy())


def fold_constants(mod: IRModule) -> IRModule:
    """Return the module with `main`'s constant reshapes, transposes and dequantizes evaluated."""
    out = mod.clone()
    for gvar, func in mod.functions_items():
        if isinstance(func, relax.Function):
            out[gvar] = _Folder(mod).visit_expr(func)
    return out
