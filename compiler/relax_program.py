"""Walk a Relax module in ``call_tir`` form into a `Program`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.ir import GenericConst, IRModule

from compiler.errors import UnsupportedError
from compiler.onnx_import.model import Model
from compiler.onnx_import.to_relax import onnx_names
from compiler.program import (
    ELEMENT_BYTES,
    Copy,
    FloatQuantizer,
    KernelCall,
    Port,
    Program,
    Value,
    ValueKind,
)
from compiler.stages.block_layout import BLOCKS
from compiler.stages.integer_graph import CHANNELS_LAST, STAYS_FLOAT
from compiler.stages.operators.contiguous import JOINS, view_offset_bytes
from compiler.stages.provenance import Provenance, bindings, is_call_to, provenance_of

_VIEWS = ("relax.reshape", "relax.memory.view", "relax.memory.ensure_zero_offset")


@dataclass(frozen=True, slots=True)
class _Nodes:
    """ONNX nodes by the values they make."""

    name_of: dict[str, str]
    operator_of: dict[str, str]
    macs_of: dict[str, int]


@dataclass(slots=True)
class _Builder:
    """Collects values and calls while the bindings are walked."""

    values: list[Value] = field(default_factory=list)
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    calls: list[KernelCall] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)  # constants by content

    def add(self, kind: ValueKind, shape: tuple[int, ...], dtype: str, **more: Any) -> int:
        number = len(self.values)
        storage = more.pop("storage", number)
        self.values.append(
            Value(id=number, kind=kind, dtype=dtype, shape=shape, storage=storage, **more)
        )
        return number

    def add_constant(self, array: np.ndarray, dtype: str) -> int:
        content = dtype.encode() + str(array.shape).encode() + array.tobytes()
        if content not in self.known:
            number = self.add(ValueKind.CONSTANT, tuple(array.shape), dtype)
            self.constants[number] = np.ascontiguousarray(array)
            self.known[content] = number
        return self.known[content]


def _type(expression: Any, what: str) -> tuple[tuple[int, ...], str]:
    """Static shape and dtype of a tensor type."""
    ty = expression
    if not isinstance(ty, relax.TensorType) or not isinstance(ty.shape, relax.ShapeExpr):
        raise _unsettled(what)
    if not all(isinstance(extent, tirx.IntImm) for extent in ty.shape.values):
        raise _unsettled(what)
    dtype = str(ty.dtype)
    if dtype not in ELEMENT_BYTES:
        raise UnsupportedError(
            f"{what} has elements of type {dtype}",
            why=f"compiled are tensors of {', '.join(sorted(ELEMENT_BYTES))}",
            fix="convert the model to one of these types",
        )
    return tuple(int(extent) for extent in ty.shape.values), dtype


def _unsettled(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"the shape of {what} depends on data",
        why="memory is planned at compile time, so every shape must be known then",
        fix="fix the input shapes with --shape, or remove the operator that makes it",
    )


def extract_program(mod: IRModule, model: Model) -> Program:
    """Return the linear program of a module in ``call_tir`` form.

    Raises:
        UnsupportedError: something is left that is no kernel call, or a shape depends on data.
    """
    names = onnx_names(mod)
    blocks = {
        str(name): int(channels)
        for layout in (BLOCKS, CHANNELS_LAST)  # the first is not of a GPU
        for name, channels in mod.attrs.get(layout, {}).items()
    }
    return _Walk(mod, names, blocks, provenance_of(mod), model).program()


class _Walk:
    """One pass over the bindings of `main`."""

    def __init__(
        self,
        mod: IRModule,
        onnx_names: Mapping[str, str],
        blocks: Mapping[str, int],
        provenance: Mapping[str, Provenance],
        model: Model,
    ) -> None:
        self._mod = mod
        self._main = mod["main"]
        self._onnx_names = onnx_names
        self._blocks = blocks
        self._provenance = provenance
        self._model = model
        self._nodes = _nodes_by_value(model)
        self._built = _Builder()
        self._environment: dict[Any, Any] = {}

    def program(self) -> Program:
        inputs = []
        for parameter, info in zip(self._main.params, self._model.inputs, strict=True):
            shape, dtype = _type(parameter.ty, f"input `{info.name}`")
            number = self._built.add(ValueKind.INPUT, shape, dtype, onnx_name=info.name)
            self._environment[parameter] = number
            inputs.append(Port(name=info.name, value=number, quantization=info.quantization))
        for binding in bindings(self._main):
            self._environment[binding.var] = self._bind(binding)
        result = self._value(self._main.body.body)
        results = list(result) if isinstance(result, tuple) else [result]
        made = _with_outputs(self._built, inputs, results, self._model)
        return replace(
            made,
            float_quantizers=self._float_quantizers(),
            integer_io=self._model.io == "int8",
            float_weights=self._model.float_weights,
        )

    def _float_quantizers(self) -> tuple[FloatQuantizer, ...]:
        reasons = self._mod.attrs.get(STAYS_FLOAT, {})
        return tuple(
            FloatQuantizer(node=self._nodes.name_of.get(str(value), str(value)), reason=str(reason))
            for value, reason in sorted(reasons.items(), key=lambda item: str(item[0]))
        )

    def _bind(self, binding: Any) -> Any:
        value = binding.value
        if isinstance(value, relax.TupleGetItem):
            return self._value(value.tuple_value)[value.index]
        if is_call_to(value, "relax.call_tir"):
            return self._call(value)
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") in _VIEWS:
            return self._view(binding)
        if isinstance(value, relax.Call):
            raise _unknown(getattr(value.op, "name", str(value.op)))
        return self._value(value)

    def _value(self, expression: Any) -> Any:
        if isinstance(expression, relax.Var):
            return self._environment[expression]
        if isinstance(expression, GenericConst):
            _, dtype = _type(expression.ty, "a constant")
            return self._built.add_constant(np.asarray(expression.value.numpy()), dtype)
        if isinstance(expression, relax.Tuple):
            return tuple(self._value(item) for item in expression.fields)
        if isinstance(expression, relax.ShapeExpr):
            return expression
        raise _unknown(type(expression).__name__)

    def _view(self, binding: Any) -> int:
        source = self._built.values[self._value(binding.value.args[0])]
        onnx_name = self._onnx_names.get(binding.var.name)
        shape, dtype = _type(binding.var.ty, f"`{onnx_name or binding.var.name}`")
        return self._built.add(
            source.kind,
            shape,
            dtype,
            storage=source.storage,
            onnx_name=onnx_name,
            channel_block=self._blocks.get(binding.var.name),
            offset_bytes=source.offset_bytes + view_offset_bytes(binding.value),
        )

    def _call(self, call: relax.Call) -> Any:
        kernel = call.args[0].name_hint
        inputs = tuple(self._value(argument) for argument in call.args[1].fields)
        made = self._provenance.get(kernel, Provenance((), ()))
        out_type = call.ty_args[0]
        types = list(out_type.fields) if isinstance(out_type, relax.TupleType) else [out_type]
        variables = [*made.outputs, *[""] * (len(types) - len(made.outputs))]
        outputs = []
        for ty, variable in zip(types, variables, strict=False):
            onnx_name = self._onnx_names.get(variable)
            shape, dtype = _type(ty, f"`{onnx_name or kernel}`")
            outputs.append(
                self._built.add(
                    ValueKind.BUFFER,
                    shape,
                    dtype,
                    onnx_name=onnx_name,
                    channel_block=self._blocks.get(variable),
                )
            )
        onnx_values = [self._onnx_names[v] for v in made.variables if v in self._onnx_names]
        self._built.calls.append(
            _kernel_call(
                kernel,
                inputs,
                tuple(outputs),
                onnx_values,
                self._nodes,
                joins=JOINS in self._mod[kernel].attrs,
            )
        )
        return tuple(outputs) if isinstance(out_type, relax.TupleType) else outputs[0]


def _unknown(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"`{name.removeprefix('relax.')}` has no kernel",
        why="only kernel calls and reshapes can be part of a stand-alone program",
        fix="`tunesmith inspect` lists the operators that are supported",
    )


def _nodes_by_value(model: Model) -> _Nodes:
    name_of, operator_of, macs_of = {}, {}, {}
    for node in model.proto.graph.node:
        for output in node.output:
            name_of[output] = node.name
            operator_of[output] = node.op_type
            macs_of[output] = model.inventory.node_macs.get(node.name, 0)
    return _Nodes(name_of, operator_of, macs_of)


def _kernel_call(
    kernel: str,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    onnx_values: list[str],
    nodes: _Nodes,
    *,
    joins: bool,
) -> KernelCall:
    made = [value for value in dict.fromkeys(onnx_values) if value in nodes.name_of]
    operators = [nodes.operator_of[value] for value in made]
    return KernelCall(
        kernel=kernel,
        inputs=inputs,
        outputs=outputs,
        operator="+".join(operators) or "internal",
        onnx_nodes=tuple(dict.fromkeys(nodes.name_of[value] for value in made)),
        macs=sum(nodes.macs_of[value] for value in made),
        joins=joins,
    )


def _with_outputs(built: _Builder, inputs: list[Port], results: list[int], model: Model) -> Program:
    """Give model outputs to the caller: the kernel writes there, or a copy does at the end.

    Copied is also what is only a part of a value: the rest has no place in the caller's memory.
    """
    values = list(built.values)
    outputs, copies = [], []
    taken: set[int] = set()
    for number, info in zip(results, model.outputs, strict=True):
        owner = values[values[number].storage]
        is_whole = values[number].size_bytes == owner.size_bytes
        direct = is_whole and owner.kind is ValueKind.BUFFER and owner.id not in taken
        if direct:
            taken.add(owner.id)
            values = [_as_output(value) if value.storage == owner.id else value for value in values]
            target = number
        else:
            shape, dtype = values[number].shape, values[number].dtype
            target = len(values)
            values.append(
                Value(
                    id=target,
                    kind=ValueKind.OUTPUT,
                    dtype=dtype,
                    shape=shape,
                    storage=target,
                    onnx_name=info.name,
                )
            )
            copies.append(Copy(source=number, destination=target))
        outputs.append(Port(name=info.name, value=target, quantization=info.quantization))
    return Program(
        values=tuple(values),
        constants=dict(built.constants),
        calls=tuple(built.calls),
        copies=tuple(copies),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _as_output(value: Value) -> Value:
    return replace(value, kind=ValueKind.OUTPUT)
