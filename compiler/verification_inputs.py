"""Inputs that exercise a model: read from a file, or drawn from what the graph says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compiler.array_files import read_arrays
from compiler.errors import InputError
from compiler.onnx_import.model import Model, TensorInfo
from compiler.verification.graph_walk import DEQUANTIZER, QUANTIZER, GraphWalk

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, np.ndarray]

# Which input holds indices, and which the table: (node, index input) -> table input.
INDEX_READERS = {
    ("Gather", 1): 0,
    ("GatherElements", 1): 0,
    ("ScatterElements", 1): 0,
}
# An integer input that only meets these says which positions count.
MASK_READERS = frozenset({"And", "Or", "Not", "Where", "Sub", "GatherND"})
# Integers of which the graph says nothing: bytes are the most common meaning.
INTEGER_RANGE = (0, 255)


def read_inputs(path: Path, model: Model) -> Arrays:
    """Return the arrays of an .npz file, checked against the model's inputs.

    Reals of an input that the caller quantizes (``--io int8``) are quantized first.

    Raises:
        InputError: the file cannot be read, or a name, dtype or shape is wrong.
    """
    return checked_inputs(read_arrays(path), model)


def checked_inputs(arrays: Mapping[str, np.ndarray], model: Model) -> Arrays:
    """Return one array of the right dtype and shape for each input, or raise InputError."""
    known = {info.name: info for info in model.inputs if model.io == "int8"}
    made = {
        name: _quantized(array, known[name])
        if name in known and array.dtype == np.float32
        else array
        for name, array in arrays.items()
    }
    check_inputs(made, model)
    return made


def _quantized(reals: np.ndarray, info: TensorInfo) -> np.ndarray:
    """As a quantizer at the border would: a float32 quotient, rounded half to even."""
    if info.quantization is None:
        return reals
    limits = np.iinfo(info.dtype)
    quotients = np.rint(reals / np.float32(info.quantization.scale))
    integers = quotients + info.quantization.zero_point
    return np.asarray(np.clip(integers, limits.min, limits.max).astype(info.dtype))


def check_inputs(arrays: Mapping[str, np.ndarray], model: Model) -> None:
    """Raise InputError unless there is one array of the right dtype and shape for each input."""
    expected = {info.name: info for info in model.inputs}
    listing = ", ".join(expected) or "none"
    for name in [*arrays.keys() - expected.keys(), *expected.keys() - arrays.keys()]:
        raise InputError(
            f"input {name!r} is {'missing' if name in expected else 'not an input of the model'}",
            why=f"the model's inputs are: {listing}",
            fix="give exactly one array for each input, under its ONNX name",
        )
    for name, info in expected.items():
        array = arrays[name]
        if str(array.dtype) != info.dtype or array.shape != info.shape:
            raise InputError(
                f"input {name!r} is {array.dtype}{list(array.shape)}",
                why=f"the model takes {info.dtype}{list(info.shape)}",
                fix="convert the array, or compile the model for its shape with --shape",
            )


def draw_inputs(model: Model, seed: int, scale: float = 1.0) -> Arrays:
    """Return one array per input, drawn so that the model's values spread.

    Args:
        scale: stretches floats: standard deviation of what no quantizer bounds, share of the range
            of what one does (at most all of it).
    """
    walk = GraphWalk(model.proto)
    generator = np.random.default_rng(seed)
    reals = model.io == "int8"
    return {info.name: _draw(info, walk, generator, scale, reals=reals) for info in model.inputs}


def _draw(
    info: TensorInfo,
    walk: GraphWalk,
    generator: np.random.Generator,
    scale: float,
    *,
    reals: bool = False,
) -> np.ndarray:
    """Draw one input.

    Args:
        reals: integers with a scale stand for reals, which are drawn and quantized.
    """
    dtype = np.dtype(info.dtype)
    if reals and info.quantization is not None:
        limits, step = np.iinfo(dtype), info.quantization.scale
        low, high = ((v - info.quantization.zero_point) * step for v in (limits.min, limits.max))
        return _quantized(_spread(low, high, info.shape, generator, scale), info)
    if dtype.kind == "f":
        bounds = _quantizer_range(info.name, walk)
        if bounds is None:
            return (generator.standard_normal(info.shape) * scale).astype(dtype)
        return _spread(*bounds, info.shape, generator, scale).astype(dtype)
    if dtype.kind == "b":
        return np.ones(info.shape, dtype)
    low, high = _integer_range(info, walk)
    return generator.integers(low, high, info.shape, dtype=dtype, endpoint=True)


def _spread(
    low: float, high: float, shape: tuple[int, ...], generator: np.random.Generator, scale: float
) -> np.ndarray:
    """Reals around the middle of a range, over a share of it, in float32."""
    middle, half = (low + high) / 2, (high - low) / 2
    half *= min(scale, 1.0)
    return generator.uniform(middle - half, middle + half, shape).astype(np.float32)


def _quantizer_range(name: str, walk: GraphWalk) -> tuple[float, float] | None:
    """Smallest and largest real number that the first quantizer of an input can represent."""
    for node, position in walk.readers(name):
        if node.op_type != QUANTIZER or position != 0:
            continue
        scale = walk.constant(node.input[1])
        zero_point = walk.constant(node.input[2]) if len(node.input) > 2 else np.uint8(0)
        if scale is None or zero_point is None:
            continue
        step, zero = float(np.max(scale)), float(np.ravel(zero_point)[0])
        limits = np.iinfo(zero_point.dtype)
        return (limits.min - zero) * step, (limits.max - zero) * step
    return None


def _integer_range(info: TensorInfo, walk: GraphWalk) -> tuple[int, int]:
    """Smallest and largest sensible value of an integer input."""
    limits = np.iinfo(np.dtype(info.dtype))
    if any(node.op_type == DEQUANTIZER for node, _ in walk.readers(info.name)):
        return limits.min, limits.max
    tops = [
        top
        for node, position in walk.readers(info.name)
        if (top := _largest_index(node, position, walk)) is not None
    ]
    if tops:
        return 0, min(*tops, limits.max)
    if any(node.op_type in MASK_READERS for node, _ in walk.readers(info.name)):
        return 1, 1
    return max(INTEGER_RANGE[0], limits.min), min(INTEGER_RANGE[1], limits.max)


def _largest_index(node: onnx.NodeProto, position: int, walk: GraphWalk) -> int | None:
    """Largest value that a reader takes as an index or as a class; None if it is neither."""
    if node.op_type == "OneHot" and position == 0:
        depth = walk.constant(node.input[1])
        return None if depth is None else int(np.ravel(depth)[0]) - 1
    if node.op_type == "Equal":
        # One-hot written out: compared with the numbers 0 .. n-1.
        other = walk.constant(node.input[1 - position])
        if other is not None and np.array_equal(np.unique(other), np.arange(other.max() + 1)):
            return int(other.max()) or None
        return None
    table_position = INDEX_READERS.get((node.op_type, position))
    if table_position is None:
        return None
    table = walk.constant(node.input[table_position])
    if table is None or table.ndim == 0:
        return None
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return int(table.shape[axis]) - 1
