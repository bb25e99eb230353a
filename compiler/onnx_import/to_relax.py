"""From a `Model` to a Relax module whose variables say which ONNX value they hold."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from functools import reduce
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst, IRModule
from tvm.relax.frontend.onnx import onnx_frontend

from compiler.errors import UnsupportedError
from compiler.onnx_import.model import Model

# Module attribute: variable name -> ONNX value name. Relax wants identifiers, ONNX allows any text.
ONNX_NAMES = "tunesmith.onnx_names"
VARIABLE_PREFIX = "v"

PAD_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
_PAIRWISE = {"Max": relax.op.maximum, "Min": relax.op.minimum, "Sum": relax.op.add}


def onnx_names(mod: IRModule) -> dict[str, str]:
    """Return the ONNX value name of each variable that has one."""
    return {str(key): str(value) for key, value in mod.attrs[ONNX_NAMES].items()}


class _NamedValues(dict[str, Any]):
    """The importer's table of values; binds each new expression to a variable of its own.

    The importer leaves nested calls unbound, so that nothing would tell later which part of an
    expression is which ONNX value.
    """

    def __init__(self, builder: relax.BlockBuilder) -> None:
        super().__init__()
        self._builder = builder
        self.onnx_names: dict[str, str] = {}

    def __setitem__(self, onnx_name: str, expression: Any) -> None:
        if isinstance(expression, relax.Call | relax.TupleGetItem):
            hint = f"{VARIABLE_PREFIX}{len(self.onnx_names)}"
            expression = self._builder.emit(expression, name_hint=hint)
        if isinstance(expression, relax.Var):
            self.onnx_names.setdefault(expression.name, onnx_name)
        super().__setitem__(onnx_name, expression)


class _Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc]
    """TVM's importer with named values and with the node named in its errors."""

    def __init__(self) -> None:
        super().__init__({}, {}, keep_params_in_input=False, sanitize=True)
        self._nodes = _NamedValues(self.bb)
        self._current: Any = None

    def _check_for_unsupported_ops(self, graph: Any) -> None:
        """Nothing: `support.py` has looked at every node, and knows what is converted here."""

    def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
        pairwise = _PAIRWISE.get(op_name)
        if pairwise is not None and len(inputs) > 1:
            # TVM's importer stacks the operands and reduces: twice the memory, and no fusion.
            return reduce(lambda one, other: self.bb.normalize(pairwise(one, other)), inputs)
        if op_name == "ConvInteger":
            return self._integer_convolution(list(inputs), attrs)
        if op_name == "DynamicQuantizeLinear":
            return self._dynamic_quantizer(inputs[0])
        if op_name == "Clip" and opset >= 11:
            return self._clip(*inputs, *[None] * (3 - len(inputs)))
        if op_name == "Pad" and (padded := self._pad(list(inputs), attrs)) is not None:
            return padded
        try:
            # The importer prints the operands of a failing node; the error below says it better.
            with redirect_stdout(io.StringIO()):
                return super()._convert_operator(op_name, inputs, attrs, opset)
        except Exception as cause:
            node = attrs.get("tvm_custom", {}).get("name", "")
            raise UnsupportedError(
                f"cannot import node `{node}` ({op_name})",
                why=f"TVM's ONNX importer refused it: {_last_line(cause)}",
                fix="rewrite the node with operators that `tunesmith inspect` lists as supported",
            ) from cause

    def _integer_convolution(self, inputs: list[Any], attrs: Any) -> Any:
        """int32 sums of what is left of data and weights when their zero points are subtracted."""
        missing: list[Any] = [None] * (4 - len(inputs))
        data, weight, data_zero, weight_zero = [*inputs, *missing]
        rank = len(data.ty.shape.values) - 2
        if rank != 2 or attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise UnsupportedError(
                f"cannot import node `{attrs.get('tvm_custom', {}).get('name', '')}` (ConvInteger)",
                why="it is compiled for images only, with pads that are written",
                fix="give the node two spatial axes and `pads`",
            )
        wide = [self.bb.normalize(relax.op.astype(one, "int32")) for one in (data, weight)]
        for position, zero in enumerate((data_zero, weight_zero)):
            if zero is not None:
                zero = self.bb.normalize(relax.op.astype(zero, "int32"))
                if position == 1 and len(zero.ty.shape.values) == 1:
                    zero = self.bb.normalize(relax.op.reshape(zero, (-1, 1, 1, 1)))
                wide[position] = self.bb.normalize(relax.op.subtract(wide[position], zero))
        return relax.op.nn.conv2d(
            *wide,
            strides=attrs.get("strides", (1, 1)),
            padding=attrs.get("pads", (0, 0, 0, 0)),
            dilation=attrs.get("dilations", (1, 1)),
            groups=attrs.get("group", 1),
            out_dtype="int32",
        )

    def _dynamic_quantizer(self, data: Any) -> Any:
        """uint8 by the range of the data, which is made to hold 0; scale 1 where all is 0.

        TVM's importer divides by a scale of 0 there.
        """
        op, none = relax.op, relax.const(np.float32(0))
        most = self.bb.emit(op.maximum(none, op.max(data)))
        least = self.bb.emit(op.minimum(none, op.min(data)))
        span = self.bb.emit(op.subtract(most, least))
        steps = op.divide(span, relax.const(np.float32(255)))
        scale = self.bb.emit(op.where(op.equal(span, none), relax.const(np.float32(1)), steps))
        real = op.clip(op.subtract(none, op.divide(least, scale)), 0, 255)
        zero = self.bb.emit(op.astype(op.round(real), "uint8"))
        return relax.Tuple([op.quantize(data, scale, zero, axis=0, out_dtype="uint8"), scale, zero])

    def _pad(self, inputs: list[Any], attrs: Any) -> Any | None:
        """Padding of what was dequantized, as an operator that the integer stage knows.

        None for all else, of which TVM's importer makes a kernel.
        """
        amounts, value, axes = (
            one.value.numpy() if isinstance(one, GenericConst) else one
            for one in [*inputs[1:], None, None, None][:3]
        )
        known = isinstance(amounts, np.ndarray) and not any(
            isinstance(one, relax.Expr) for one in (value, axes)
        )
        mode = PAD_MODES.get(attrs.get("mode", b"constant").decode())
        if not known or mode is None or not self._is_dequantized(inputs[0]):
            return None
        rank = len(inputs[0].ty.shape.values)
        padded = range(rank) if axes is None else [int(axis) % rank for axis in axes]
        width = [0] * (2 * rank)
        for axis, before, after in zip(padded, *amounts.reshape(2, -1), strict=True):
            width[2 * axis], width[2 * axis + 1] = int(before), int(after)
        if min(width) < 0:
            return None
        return relax.op.nn.pad(inputs[0], width, mode, 0.0 if value is None else value.item())

    def _is_dequantized(self, value: Any) -> bool:
        call = self.bb.lookup_binding(value) if isinstance(value, relax.Var) else None
        return getattr(getattr(call, "op", None), "name", "") == "relax.dequantize"

    def _clip(self, data: Any, low: Any, high: Any) -> Any:
        """As operators of the graph, which later stages know; TVM's importer makes kernels."""
        if low is not None:
            data = self.bb.normalize(relax.op.maximum(data, low))
        if high is not None:
            data = self.bb.normalize(relax.op.minimum(data, high))
        return data


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def to_relax(model: Model) -> IRModule:
    """Return a Relax module with one function ``main``, parameters in the order of the inputs.

    The module attribute `ONNX_NAMES` maps variable names to ONNX value names.

    Raises:
        UnsupportedError: the importer refuses a node; the node is named.
    """
    opset = next(o.version for o in model.proto.opset_import if o.domain in ("", "ai.onnx"))
    importer = _Importer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # renamed inputs: we keep the ONNX names ourselves
        with redirect_stdout(io.StringIO()):
            mod = importer.from_onnx(model.proto.graph, opset)
    names = dict(importer._nodes.onnx_names)
    result = mod["main"].body.body
    if isinstance(result, relax.Var) and len(model.outputs) == 1:
        # The importer binds an only output once more, and simplification keeps this last name.
        names[result.name] = model.outputs[0].name
    return mod.with_attr(ONNX_NAMES, tvm.runtime.convert(names))
