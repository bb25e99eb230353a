"""Batch normalisation with constant statistics as one multiplication and one addition."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from compiler.stages.constants import constant_array


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):  # type: ignore[misc]
    """Replaces the first result of ``relax.nn.batch_norm``, the only one that inference reads."""

    def visit_tuple_getitem_(self, item: relax.TupleGetItem) -> Any:
        source = item.tuple_value
        call = self.lookup_binding(source) if isinstance(source, relax.Var) else source
        is_norm = getattr(getattr(call, "op", None), "name", "") == "relax.nn.batch_norm"
        if not is_norm or int(item.index) != 0:
            return super().visit_tuple_getitem_(item)
        statistics = [constant_array(argument) for argument in call.args[1:]]
        known = [array.astype(np.float64) for array in statistics if array is not None]
        if len(known) != len(statistics) or str(call.args[0].ty.dtype) != "float32":
            return super().visit_tuple_getitem_(item)
        gamma, beta, mean, variance = known
        scale = (gamma if call.attrs.scale else 1.0) / np.sqrt(variance + call.attrs.epsilon)
        shift = (beta if call.attrs.center else 0.0) - mean * scale
        data = self.visit_expr(call.args[0])
        shape = [1] * len(data.ty.shape.values)
        shape[int(call.attrs.axis)] = -1

        def factor(values: np.ndarray) -> Any:
            return relax.const(values.reshape(shape).astype(np.float32))

        product = self.builder_.emit(relax.op.multiply(data, factor(scale)))
        return self.builder_.normalize(relax.op.add(product, factor(shift)))


def fold_batch_norm(mod: IRModule) -> IRModule:
    """Return the module with ``x * scale + shift`` where all statistics are constants."""
    out = mod.clone()
    for gvar, func in mod.functions_items():
        if isinstance(func, relax.Function):
            out[gvar] = _Folder(mod).visit_expr(func)
    return out
