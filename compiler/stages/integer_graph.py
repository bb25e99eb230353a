"""Fold dequantize -> operator -> quantize into integer arithmetic, by one numeric contract.

The contract stands in ARCHITECTURE.md: exact sums in int32, zero points and bias part of them; one
float32 product; saturation; rounding half to even. What an operator has no integer form for stays
float between a dequantizer and a quantizer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
from tvm import relax
from tvm.ir import IRModule

from compiler.onnx_import.to_relax import ONNX_NAMES, onnx_names
from compiler.stages.constants import constant_array
from compiler.stages.integer.context import Context
from compiler.stages.integer.dynamic import (
    has_computed_parameters,
    integer_sums_of_convolution,
    integer_sums_of_product,
)
from compiler.stages.integer.elementwise import rescaled
from compiler.stages.integer.epilogue import Epilogue, epilogue_of
from compiler.stages.integer.movement import integer_part
from compiler.stages.integer.quantizers import (
    MOVEMENTS,
    SMALL_INTEGERS,
    StaysFloatError,
    quantizer_of,
)
from compiler.stages.integer.rules import INTEGER_RULES, IntegerRule
from compiler.stages.integer.tables import integer_function
from compiler.stages.integer.values import Integers
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.integer_dot import integer_dot
from compiler.stages.operators.requantize import (
    dequantized,
    dynamically_quantized,
    quantized,
)
from compiler.stages.provenance import STANDS_FOR, bindings, is_call_to
from compiler.target_spec import TargetSpec

# Module attribute: variable name -> channels, for variables of shape [N, H, W, C].
CHANNELS_LAST = "tunesmith.channels_last"
# Module attribute: ONNX value that a quantizer makes -> why it is computed in float arithmetic.
STAYS_FLOAT = "tunesmith.stays_float"


def integer_graph(mod: IRModule, *, spec: TargetSpec) -> IRModule:
    """Return the module with quantized operators on integers."""
    folder = _Folder(mod, spec)
    main = folder.visit_expr(mod["main"])
    out = folder.builder_.get()
    out["main"] = main
    out = out.with_attrs(dict(mod.attrs or {}))
    attrs = {
        ONNX_NAMES: folder.onnx_names,
        STANDS_FOR: {**dict(mod.attrs.get(STANDS_FOR, {})), **folder.stands_for},
        CHANNELS_LAST: folder.channels_last,
        STAYS_FLOAT: folder.stays_float,
    }
    for key, value in attrs.items():
        out = out.with_attr(key, tvm.runtime.convert(value))
    return out


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):  # type: ignore[misc]
    """Rewrites bindings in order; integers are known by the variable that they replace."""

    def __init__(self, mod: IRModule, spec: TargetSpec) -> None:
        super().__init__(mod)
        main = mod["main"]
        definitions = {binding.var: binding.value for binding in bindings(main)}
        self._context = Context(self.builder_, definitions, self.visit_expr, integer_dot(spec))
        self.onnx_names = onnx_names(mod)
        self.stands_for: dict[str, list[str]] = {}
        self.channels_last: dict[str, int] = {}
        self.stays_float: dict[str, str] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = binding.value
        made = None
        if isinstance(binding.var, relax.DataflowVar) and isinstance(value, relax.Call):
            made = self._integers(binding)
        if made is None:
            super().visit_var_binding_(binding)
        else:
            self._context.remember(binding.var, made)

    def visit_dataflow_var_(self, variable: relax.DataflowVar) -> Any:
        if self._context.knows(variable):
            return self._context.integers(variable).plain
        return super().visit_dataflow_var_(variable)

    def visit_call_(self, call: relax.Call) -> Any:
        for integer_sums in (integer_sums_of_product, integer_sums_of_convolution):
            sums = integer_sums(self._context, call, self.visit_expr)
            if sums is not None:
                return sums
        if is_call_to(call, "relax.dequantize") and constant_array(call.args[0]) is None:
            found = quantizer_of(call)
            if found is not None:
                compute = partial(dequantized, scale=found.scale, zero=found.zero)
                data = self.visit_expr(call.args[0])
                return self.builder_.call_te(compute, data, primfunc_name_hint="dequantize")
        return super().visit_call_(call)

    def _integers(self, binding: relax.VarBinding) -> Integers | None:
        """Return the binding's integers, None if it has none or this stage does not make them."""
        call = binding.value
        if is_call_to(call, "relax.quantize"):
            if quantizer_of(call) is not None:
                return self._quantized(binding)
            if has_computed_parameters(call):
                return self._dynamically_quantized(binding)
            reason = "not to 8 bits, by a scale for each channel, or by one that is computed"
            self._note(binding.var.name, f"it quantizes {reason}")
        name = getattr(call.op, "name", "")
        small = name in MOVEMENTS and str(call.ty.dtype) in SMALL_INTEGERS
        if small and isinstance(call.args[0], relax.Var):
            return self._context.integers(call.args[0]).moved(call)
        return None

    def _quantized(self, binding: relax.VarBinding) -> Integers:
        variable, call = binding.var, binding.value
        quantizer = quantizer_of(call)
        assert quantizer is not None
        self._context.begin()
        try:
            epilogue = epilogue_of(self._context, call.args[0], quantizer)
            made = self._core(epilogue, variable.name)
        except StaysFloatError as reason:
            self._note(variable.name, str(reason))
            compute = partial(quantized, scale=quantizer.scale, to=quantizer.bounds())
            data = self.visit_expr(call.args[0])
            made = self._context.plain(self._context.emit_te(compute, data, name="quantize"))
            self._named(variable, made, ())
            return made
        inside = (*self._context.inner_names, *epilogue.variables)
        self._named(variable, made, inside)
        for movement in epilogue.movements:
            made = made.moved(movement)
        return made

    def _dynamically_quantized(self, binding: relax.VarBinding) -> Integers:
        """By a scale and a zero point that the model computes (DynamicQuantizeLinear)."""
        operands = [self.visit_expr(argument) for argument in binding.value.args]
        self._context.begin()
        made = self._context.plain(
            self._context.emit_te(dynamically_quantized, *operands, name="quantize")
        )
        self._named(binding.var, made, ())
        return made

    def _core(self, epilogue: Epilogue, name: str) -> Integers:
        """The operator under a quantizer, before what moves its elements."""
        context = self._context
        operand = context.operand(epilogue.core)
        if operand is not None:
            return rescaled(context, operand, epilogue.to)
        core = context.behind(epilogue.core)
        operator = getattr(getattr(core, "op", None), "name", "")
        rules: tuple[IntegerRule | None, ...] = (INTEGER_RULES.get(operator), integer_function)
        if isinstance(core, relax.TupleGetItem):
            rules = (integer_part,)
        elif not operator:
            return self._border(epilogue)
        reasons = []
        for rule in rules:
            try:
                if rule is not None:
                    return rule(context, core, epilogue.to)
            except StaysFloatError as reason:
                reasons.append(str(reason))
        self._note(name, reasons[0])
        return self._border(epilogue)

    def _border(self, epilogue: Epilogue) -> Integers:
        """Quantize what is computed in float arithmetic, or given as float by the caller."""
        if epilogue.to.slope is not None:
            raise StaysFloatError("a leaky ReLU follows float arithmetic")
        scale = epilogue.to.quantizer.scale
        compute = partial(quantized, scale=scale, to=epilogue.to.bounds)
        data = self.visit_expr(epilogue.core)
        return self._context.plain(self._context.emit_te(compute, data, name="quantize"))

    def _note(self, name: str, reason: str) -> None:
        self.stays_float[self.onnx_names.get(name, name)] = reason

    def _named(self, variable: Any, made: Integers, names: tuple[str, ...]) -> None:
        """Let what was made last for a variable of the old graph be known by its ONNX values."""
        newest = made.newest
        if variable.name in self.onnx_names:
            self.onnx_names.setdefault(newest.name, self.onnx_names[variable.name])
        if made.is_last and len(shape_of(newest)) == 4:
            self.channels_last[newest.name] = shape_of(newest)[3]
        if self._context.newest_call is not None:
            self.stands_for[self._context.newest_call] = [*names, variable.name]
