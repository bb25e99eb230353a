"""Store constants that halves hold exactly as halves; kernels widen each where they read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.ir import GenericConst, GlobalVar, IRModule
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.stages.provenance import bindings, is_call_to
from schedules import match

# Bytes that would be saved in a smaller one are less than the instructions that widen it.
LEAST_ELEMENTS = 64


def half_weights(mod: IRModule) -> IRModule:
    """Return the module in ``call_tir`` form with float16 in the place of such constants.

    They are float32 constants that were rounded before (`onnx_import.half_weights`), whatever
    packing has done to their order. One that was computed anew is exact as float32 only, and stays.
    """
    positions = _positions(mod)
    changed: dict[str, PrimFunc] = {}
    for name, possible in positions.items():
        func = mod[name]
        taken: set[int] = set()
        for position in sorted(possible):
            narrowed = _with_half(func, position)
            if narrowed is not None:
                func, taken = narrowed, taken | {position}
        positions[name] = taken
        if taken:
            changed[name] = func
    return _Narrower(mod, changed, positions).module()


def is_half(array: np.ndarray) -> bool:
    """Whether halves hold every number of a float32 array, all of them finite."""
    if array.dtype != np.float32 or array.size < LEAST_ELEMENTS or not np.isfinite(array).all():
        return False
    with np.errstate(over="ignore"):
        back = array.astype(np.float16).astype(np.float32)
    return bool(np.array_equal(back.view(np.uint32), array.view(np.uint32)))


def _positions(mod: IRModule) -> dict[str, set[int]]:
    """Operands of each function that every call of it gives a constant that halves hold."""
    found: dict[str, set[int]] = {}
    for binding in bindings(mod["main"]):
        call = binding.value
        if not is_call_to(call, "relax.call_tir"):
            continue
        here = {
            position
            for position, argument in enumerate(call.args[1].fields)
            if isinstance(argument, GenericConst) and is_half(argument.value.numpy())
        }
        name = call.args[0].name_hint
        found[name] = found.get(name, here) & here
    return found


def _with_half(func: PrimFunc, position: int) -> PrimFunc | None:
    """The function with a float16 parameter there; None if it does more with it than to load."""
    wide = func.params[position]
    half = tirx.decl_buffer(wide.shape, "float16", wide.name)

    def load(node: Any, mutator: Any) -> Any:
        if not node.source.same_as(wide):
            return mutator.default_mutate(node)
        indices = [structural.structural_mutate(i, visitors) for i in node.indices]
        return tirx.Cast("float32", tirx.BufferLoad(half, indices))

    def region(node: Any, mutator: Any) -> Any:
        inner = mutator.default_mutate(node)
        return tirx.BufferRegion(half, inner.region) if node.source.same_as(wide) else inner

    visitors = [(tvm.ir.TensorLoad, load), (tvm.ir.TensorRegion, region)]
    body = structural.structural_mutate(func.body, visitors)
    if match.uses(body, wide):
        return None
    params = [half if parameter.same_as(wide) else parameter for parameter in func.params]
    return PrimFunc(params, body, func.ret_type, attrs=func.attrs)


@relax.expr_functor.mutator
class _Narrower(relax.PyExprMutator):  # type: ignore[misc]
    """Puts the changed functions and their constants in place."""

    def __init__(
        self, mod: IRModule, changed: Mapping[str, PrimFunc], positions: Mapping[str, set[int]]
    ) -> None:
        super().__init__(mod)
        self._mod = mod
        self._positions = positions
        self._functions: dict[GlobalVar, Any] = {}
        self._callees: dict[str, GlobalVar] = {}
        for gvar, func in mod.functions_items():
            name = gvar.name_hint
            own = GlobalVar(name)
            new = changed.get(name, func)
            # A call_tir's callee must have the type of its function.
            relax.expr._update_type(own, gvar.ty if new is func else new.ty)
            self._callees[name] = own
            self._functions[own] = new

    def module(self) -> IRModule:
        """Return the whole module."""
        main = self._callees["main"]
        self._functions[main] = self.visit_expr(self._mod["main"])
        return IRModule(self._functions, attrs=self._mod.attrs)

    def visit_call_(self, call: relax.Call) -> Any:
        if not is_call_to(call, "relax.call_tir"):
            return super().visit_call_(call)
        name = call.args[0].name_hint
        operands = [
            relax.const(operand.value.numpy().astype(np.float16))
            if position in self._positions[name]
            else self.visit_expr(operand)
            for position, operand in enumerate(call.args[1].fields)
        ]
        arguments = [self._callees[name], relax.Tuple(operands), *call.args[2:]]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)
