"""Index operands stay inside their axis, so that no input can make a kernel read elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from compiler.errors import UnsupportedError
from compiler.stages.constants import constant_array


def _extents(value: Any) -> list[int]:
    return [int(extent) for extent in value.ty.shape.values]


def _index_bounds(call: relax.Call) -> tuple[int, np.ndarray] | None:
    """Return (position of the index operand, allowed extents that broadcast to it)."""
    name = getattr(call.op, "name", "")
    if name == "relax.take":
        axis = call.attrs.axis
        shape = _extents(call.args[0])
        extent = int(np.prod(shape)) if axis is None else shape[int(axis)]
        return 1, np.array(extent)
    if name in ("relax.gather_elements", "relax.scatter_elements"):
        return 1, np.array(_extents(call.args[0])[int(call.attrs.axis)])
    if name in ("relax.gather_nd", "relax.scatter_nd"):
        first = int(call.attrs.batch_dims) if name == "relax.gather_nd" else 0
        depth = _extents(call.args[1])[-1]
        return 1, np.array(_extents(call.args[0])[first : first + depth])
    return None


@relax.expr_functor.mutator
class _Clamper(relax.PyExprMutator):  # type: ignore[misc]
    """Wraps the index operand of every gather and scatter."""

    def visit_call_(self, call: relax.Call) -> Any:
        call = self.visit_expr_post_order(call)
        bounds = _index_bounds(call)
        if bounds is None:
            return call
        position, extents = bounds
        index = call.args[position]
        known = constant_array(index)
        if known is not None:
            safe: Any = relax.const(_checked(known, extents, call), str(known.dtype))
        else:
            safe = self._wrapped(index, extents)
        if call.op.name == "relax.take":
            # Clips by itself; its mode without would print a warning for each kernel.
            return relax.op.take(call.args[0], safe, axis=call.attrs.axis, mode="clip")
        if known is None:
            safe = self._clamped(safe, extents)
        arguments = [safe if i == position else a for i, a in enumerate(call.args)]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)

    def _wrapped(self, index: Any, extents: np.ndarray) -> Any:
        """``index < 0 ? index + extent : index``, signed."""
        dtype = str(index.ty.dtype)
        if dtype.startswith("uint"):
            index, dtype = self.builder_.emit(relax.op.astype(index, "int64")), "int64"
        extent = relax.const(extents, dtype)
        zero = relax.const(0, dtype)
        emit = self.builder_.emit
        wrapped = emit(relax.op.add(index, extent))
        return emit(relax.op.where(emit(relax.op.less(index, zero)), wrapped, index))

    def _clamped(self, index: Any, extents: np.ndarray) -> Any:
        """``min(max(index, 0), extent - 1)``."""
        dtype = str(index.ty.dtype)
        low = self.builder_.emit(relax.op.maximum(index, relax.const(0, dtype)))
        return self.builder_.emit(relax.op.minimum(low, relax.const(extents - 1, dtype)))


def _checked(index: np.ndarray, extents: np.ndarray, call: relax.Call) -> np.ndarray:
    wrapped = np.where(index < 0, index + extents, index).astype(index.dtype)
    if np.any(wrapped < 0) or np.any(wrapped >= extents):
        raise UnsupportedError(
            f"an index of {call.op.name.removeprefix('relax.')} lies outside its axis",
            why=f"the constant indices reach {int(index.min())}..{int(index.max())}, "
            f"the axis has {extents.tolist()} elements",
            fix="correct the indices in the model",
        )
    return wrapped


def clamp_indices(mod: IRModule) -> IRModule:
    """Return the module with every index operand of gathers and scatters inside its axis.

    Negative indices count from the end, as in ONNX; what is still outside goes to the nearest
    element, where onnxruntime would stop with an error.
    """
    out = mod.clone()
    for gvar, func in mod.functions_items():
        if isinstance(func, relax.Function):
            out[gvar] = _Clamper(mod).visit_expr(func)
    return out
