"""Convolutions of rows as convolutions of images one row high: one kind of convolution to lower.

What works on each element alone between them is widened too, so that it is fused with them and
block-layout sees one connected part. The change of shape is a view; it costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import IRModule

from compiler.onnx_import.to_relax import ONNX_NAMES, onnx_names
from compiler.stages.constants import constant_array
from compiler.stages.layout_wishes import ELEMENTWISE_BINARY, ELEMENTWISE_UNARY
from compiler.stages.operand_views import shape_of
from compiler.stages.provenance import is_call_to

_TO_LAST, _WIDE_TO_LAST = [0, 2, 1], (0, 2, 3, 1)


def widen_conv1d(mod: IRModule) -> IRModule:
    """Return the module with ``conv1d`` on [N, C, W] as ``conv2d`` on [N, C, 1, W]."""
    names = onnx_names(mod)
    widener = _Widener(mod, names)
    main = widener.visit_expr(mod["main"])
    out = mod.clone()
    out["main"] = main
    return out.with_attr(ONNX_NAMES, tvm.runtime.convert(widener.onnx_names))


def _widened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[N, C, W] as [N, C, 1, W]; what is broadcast to it first gets its missing axes."""
    batch, channels, width = (1,) * (3 - len(shape)) + shape
    return batch, channels, 1, width


@relax.expr_functor.mutator
class _Widener(relax.PyExprMutator):  # type: ignore[misc]
    """Rewrites bindings in order; wide results are known by the variable they replace."""

    def __init__(self, mod: IRModule, onnx_names: dict[str, str]) -> None:
        super().__init__(mod)
        self._wide: dict[Any, relax.Var] = {}
        self._narrow: dict[Any, relax.Var] = {}
        self.onnx_names = onnx_names

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        made = self._made_wide(binding.value) if isinstance(binding.value, relax.Call) else None
        if made is None:
            super().visit_var_binding_(binding)
            return
        wide = self.builder_.emit(made, name_hint=binding.var.name)
        if binding.var.name in self.onnx_names:
            self.onnx_names[wide.name] = self.onnx_names[binding.var.name]
        if isinstance(binding.var, relax.DataflowVar) and len(shape_of(wide)) == 4:
            self._wide[binding.var] = wide
        if not isinstance(binding.var, relax.DataflowVar) or is_call_to(
            binding.value, "relax.permute_dims"
        ):
            self._wide.pop(binding.var, None)
            view = self.builder_.normalize(relax.op.reshape(wide, shape_of(binding.var)))
            self.builder_.emit_normalized(relax.VarBinding(binding.var, view))

    def visit_dataflow_var_(self, variable: relax.DataflowVar) -> Any:
        """A reader that is not widened gets a view."""
        if variable not in self._wide:
            return super().visit_dataflow_var_(variable)
        if variable not in self._narrow:
            view = relax.op.reshape(self._wide[variable], shape_of(variable))
            self._narrow[variable] = self.builder_.emit(view, name_hint=variable.name)
        return self._narrow[variable]

    def _made_wide(self, call: relax.Call) -> Any | None:
        """The call with a wide result, None if it stays as it is."""
        name = getattr(call.op, "name", "")
        if name == "relax.nn.conv1d":
            return self._convolution(call)
        if not any(argument in self._wide for argument in call.args):
            return None
        if name == "relax.permute_dims":
            axes = [int(axis) % 3 for axis in call.attrs.axes or (2, 1, 0)]
            source = self._wide[call.args[0]]
            return relax.op.permute_dims(source, _WIDE_TO_LAST) if axes == _TO_LAST else None
        if name in ELEMENTWISE_UNARY and call.args[0] in self._wide:
            return relax.Call(call.op, [self._wide[call.args[0]], *call.args[1:]], call.attrs)
        if name in ELEMENTWISE_BINARY:
            operands = [self._operand(argument) for argument in call.args]
            return relax.Call(call.op, operands, call.attrs)
        return None

    def _convolution(self, call: relax.Call) -> Any:
        attrs, weight = call.attrs, call.args[1]
        left, right = (int(value) for value in attrs.padding)
        out_channels, group_in, taps = shape_of(weight)
        wide_weight = (out_channels, group_in, 1, taps)
        array = constant_array(weight)
        if array is None:
            weight = self.builder_.emit(relax.op.reshape(self.visit_expr(weight), wide_weight))
        else:
            weight = relax.const(array.reshape(wide_weight))
        return relax.op.nn.conv2d(
            self._operand(call.args[0]),
            weight,
            strides=(1, int(attrs.strides[0])),
            padding=(0, left, 0, right),
            dilation=(1, int(attrs.dilation[0])),
            groups=int(attrs.groups),
        )

    def _operand(self, operand: Any) -> Any:
        """An operand that broadcasts with wide values."""
        if operand in self._wide:
            return self._wide[operand]
        array = constant_array(operand)
        if array is not None:
            shape = () if array.size == 1 else _widened(array.shape)
            return relax.const(np.ascontiguousarray(array).reshape(shape))
        source = self.visit_expr(operand)
        return self.builder_.emit(relax.op.reshape(source, _widened(shape_of(operand))))
