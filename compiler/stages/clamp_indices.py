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
    """Wraps the index operand of every gather and scatter.

    Errors are kept for the caller: through TVM's visitor they would lose their type.
    """

    def __init__(self, mod: IRModule) -> None:
        super().__init__(mod)
        self.errors: list[UnsupportedError] = []

    def visit_call_(self, call: relax.Call) -> Any:
        call = self.visit_expr_post_order(call)
        bounds = _index_bounds(call)
        if bounds is None:
            return call
        position, extents = bounds
        index = self._as_in_the_model(call.args[position])
        known = constant_array(index)
        if known is not None:
            wrapped = np.where(known < 0, known + extents, known).astype(known.dtype)
            if np.any(wrapped < 0) or np.any(wrapped >= extents):
                self.errors.append(_outside(known, extents, call))
            safe: Any = relax.const(wrapped, str(known.dtype))
        else:
            safe = self._wrapped(index, extents)
        if call.op.name == "relax.take":
            # Clips by itself; its mode without would print a warning for each kernel.
            return relax.op.take(call.args[0], safe, axis=call.attrs.axis, mode="clip")
        if known is None:
            safe = self._clamped(safe, extents)
        arguments = [safe if i == position else a for i, a in enumerate(call.args)]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)

    def _as_in_the_model(self, index: Any) -> Any:
        """The index before TVM's importer added the extent where it is negative.

        The importer computes ``where(index < 0, index + shape_of(data)[axis], index)``, even of
        a constant, which would then be computed at run time and never be checked.
        """
        where = self._call(index, "relax.where")
        added = None if where is None else self._call(where.args[1], "relax.add")
        if where is None or added is None:
            return index
        extent = self._call(added.args[1], "relax.take", "relax.strided_slice")
        if extent is None or self._call(extent.args[0], "relax.shape_to_tensor") is None:
            return index
        return where.args[2]

    def _call(self, expression: Any, *operators: str) -> Any | None:
        """The call of one of the operators that an expression is bound to, else None."""
        value = self.lookup_binding(expression) if isinstance(expression, relax.Var) else None
        name = getattr(getattr(value, "op", None), "name", "")
        return value if name in operators else None

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


def _outside(index: np.ndarray, extents: np.ndarray, call: relax.Call) -> UnsupportedError:
    return UnsupportedError(
        f"an index of {call.op.name.removeprefix('relax.')} lies outside its axis",
        why=f"the constant indices reach {int(index.min())}..{int(index.max())}, "
        f"the axis has {extents.tolist()} elements",
        fix="correct the indices in the model",
    )


def clamp_indices(mod: IRModule) -> IRModule:
    """Return the module with every index operand of gathers and scatters inside its axis.

    Negative indices count from the end, as in ONNX; what is still outside goes to the nearest
    element, where onnxruntime would stop with an error.

    Raises:
        UnsupportedError: a constant index is outside its axis.
    """
    out = mod.clone()
    for gvar, func in mod.functions_items():
        if isinstance(func, relax.Function):
            clamper = _Clamper(mod)
            out[gvar] = clamper.visit_expr(func)
            if clamper.errors:
                raise clamper.errors[0]
    return out
