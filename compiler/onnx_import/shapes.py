"""Settle the shapes of the inputs: what `--shape` says, batch 1, and nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.errors import ModelError
from compiler.onnx_import.names import nearest

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
Dim = int | str | None  # a number, a symbol, or nothing

EXAMPLE_IMAGE_SIDE = 224  # shown in the fix of an error, used nowhere else
EXAMPLE_LENGTH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownDim:
    """A dimension that neither the file nor the user settles."""

    input: str
    axis: int
    symbol: str | None
    example: str  # a `--shape` text that settles the input


def declared_dims(value: onnx.ValueInfoProto) -> tuple[Dim, ...] | None:
    """Return the dimensions as the file gives them; None if it gives no rank.

    A sequence has none, which counts as rank 0: the inventory refuses it by its type.
    A size of 0 or -1 is how some exporters write "unknown".
    """
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return ()
    if not tensor.HasField("shape"):
        return None
    dims: list[Dim] = []
    for dim in tensor.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value > 0:
            dims.append(dim.dim_value)
        else:
            dims.append(dim.dim_param or None)
    return tuple(dims)


def settle_dims(
    graph: onnx.GraphProto, shapes: Mapping[str, Shape]
) -> tuple[dict[str, tuple[Dim, ...]], list[UnknownDim]]:
    """Return the dimensions of each input and those that are still unknown.

    A symbol has one value wherever it occurs. A first dimension that is not given is the batch
    and is 1, unless its symbol is also the size of another axis.

    Raises:
        ModelError: `shapes` names no input, has the wrong rank, contradicts the file or itself.
    """
    declared = {value.name: declared_dims(value) for value in graph.input}
    _check_names(declared, shapes)
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        _bind(name, declared[name], shape, symbols)
    inner = {d for dims in declared.values() for d in (dims or ())[1:] if isinstance(d, str)}
    settled: dict[str, tuple[Dim, ...]] = {}
    unknown: list[UnknownDim] = []
    for name, dims in declared.items():
        if name in shapes:
            settled[name] = shapes[name]
        elif dims is None:
            unknown.append(UnknownDim(input=name, axis=0, symbol=None, example=f"{name}=1x128"))
        else:
            settled[name] = tuple(_settle(d, i, symbols, inner) for i, d in enumerate(dims))
            unknown += _unknown(name, settled[name])
    return settled, unknown


def _check_names(declared: Mapping[str, object], shapes: Mapping[str, Shape]) -> None:
    for name, shape in shapes.items():
        if name not in declared:
            raise ModelError(
                f"--shape {name}: the model has no input `{name}`",
                why="a shape can be given only for an input of the model",
                fix=nearest(name, declared),
            )
        if any(dim < 1 for dim in shape):
            raise ModelError(
                f"--shape {name}={_text(shape)}: a dimension is not positive",
                why="every dimension of a compiled model is a number of at least 1",
                fix=f"write for example --shape {name}={_text([max(d, 1) for d in shape])}",
            )


def _bind(
    name: str, declared: tuple[Dim, ...] | None, shape: Shape, symbols: dict[str, int]
) -> None:
    """Check one given shape against the file and note what its symbols stand for."""
    if declared is None:
        return
    if len(shape) != len(declared):
        raise ModelError(
            f"--shape {name}={_text(shape)}: rank {len(shape)} given, the input has rank "
            f"{len(declared)}",
            why=f"the model declares `{name}` as [{_declared(declared)}]",
            fix=f"write --shape {name}={_example(declared)}",
        )
    for axis, (dim, size) in enumerate(zip(declared, shape, strict=True)):
        expected = symbols.setdefault(dim, size) if isinstance(dim, str) else dim
        if expected is not None and expected != size:
            reason = (
                f"`{dim}` is already {expected}" if isinstance(dim, str) else "the file fixes it"
            )
            raise ModelError(
                f"--shape {name}={_text(shape)}: axis {axis} is {size}, the model needs {expected}",
                why=f"the model declares `{name}` as [{_declared(declared)}]; {reason}",
                fix=f"make axis {axis} of `{name}` {expected}",
            )


def _settle(dim: Dim, axis: int, symbols: Mapping[str, int], inner: set[str]) -> Dim:
    if isinstance(dim, int):
        return dim
    if dim is not None and dim in symbols:
        return symbols[dim]
    return 1 if axis == 0 and dim not in inner else dim


def _unknown(name: str, dims: tuple[Dim, ...]) -> list[UnknownDim]:
    return [
        UnknownDim(input=name, axis=axis, symbol=dim, example=f"{name}={_example(dims)}")
        for axis, dim in enumerate(dims)
        if not isinstance(dim, int)
    ]


def unresolved_error(unknown: Sequence[UnknownDim]) -> ModelError:
    """Return the error that names every unknown dimension and a `--shape` that settles it."""
    return ModelError(
        describe(unknown),
        why="the compiler needs every size; only a first dimension (the batch) is 1 by default",
        fix=f"give the size you will run with, for example {shape_options(unknown)}",
    )


def describe(unknown: Sequence[UnknownDim]) -> str:
    """Return which axes are unknown: ``axis 2 (`height`) of input `x` is unknown, ...``."""
    symbols = [f"`{dim.symbol}`" if dim.symbol else "no symbol" for dim in unknown]
    parts = [
        f"axis {dim.axis} ({symbol}) of input `{dim.input}`"
        for dim, symbol in zip(unknown, symbols, strict=True)
    ]
    return f"{', '.join(parts)} {'is' if len(parts) == 1 else 'are'} unknown"


def shape_options(unknown: Sequence[UnknownDim]) -> str:
    """Return `--shape` options that would settle all of them."""
    return " ".join(f"--shape {text}" for text in dict.fromkeys(dim.example for dim in unknown))


def with_input_shapes(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[Dim, ...]]
) -> onnx.ModelProto:
    """Return the model with these input shapes.

    Declared shapes of intermediates and outputs are dropped: they may hold the old symbols.
    """
    import onnx

    out = onnx.ModelProto()
    out.CopyFrom(model)
    for value in out.graph.input:
        if not value.type.HasField("tensor_type"):
            continue
        tensor = value.type.tensor_type
        tensor.ClearField("shape")
        tensor.shape.SetInParent()
        for dim in shapes[value.name]:
            tensor.shape.dim.add(dim_value=dim)
    for value in out.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    del out.graph.value_info[:]
    return out


def _example(dims: tuple[Dim, ...]) -> str:
    side = EXAMPLE_IMAGE_SIDE if len(dims) == 4 else EXAMPLE_LENGTH
    return _text([d if isinstance(d, int) else (side if i else 1) for i, d in enumerate(dims)])


def _text(shape: Sequence[int]) -> str:
    return "x".join(str(dim) for dim in shape)


def _declared(dims: tuple[Dim, ...]) -> str:
    return ", ".join("?" if dim is None else str(dim) for dim in dims)
