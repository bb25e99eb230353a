"""Pooling, padding and resizing against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.differential.agreement import EXAMPLES, Case, for_all, node_case

# Float32 averages of at most 32 numbers of size about 1, in another order.
TOLERANCE = 1e-6


@st.composite
def poolings(draw: st.DrawFn, op_type: str, rank: int) -> Case:
    taps = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    attributes: dict[str, Any] = {
        "kernel_shape": taps,
        "strides": draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)),
        # ONNX wants less padding than taps.
        "pads": [draw(st.integers(0, size - 1)) for size in taps * 2],
        "ceil_mode": draw(st.integers(0, 1)),
    }
    if op_type == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    elif draw(st.booleans()):
        attributes["dilations"] = [2] * rank
    spatial = [2 * size - 1 + draw(st.integers(0, 9)) for size in taps]
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 5)), *spatial]
    return node_case(op_type, [("float32", shape)], tolerance=TOLERANCE, **attributes)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize(
    ("op_type", "rank"), [("MaxPool", 1), ("MaxPool", 2), ("AveragePool", 1), ("AveragePool", 2)]
)
def test_pooling(op_type: str, rank: int, examples: int) -> None:
    for_all(poolings(op_type, rank), examples)


@pytest.mark.parametrize("shape", [[1, 3, 7, 7], [2, 8, 1, 1], [1, 17, 4, 5], [2, 3, 9]])
@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pooling(op_type: str, shape: list[int]) -> None:
    node_case(op_type, [("float32", shape)], tolerance=TOLERANCE).check()


@st.composite
def paddings(draw: st.DrawFn, mode: str) -> Case:
    rank = draw(st.integers(1, 4))
    shape = draw(st.lists(st.integers(2, 6), min_size=rank, max_size=rank))
    least = -1 if mode == "constant" else 0
    # Reflection has one element less than the axis to give.
    pads = [draw(st.integers(least, min(3, size - 1))) for size in shape * 2]
    pads = [
        max(pad, 1 - size) if pad < 0 else pad for pad, size in zip(pads, shape * 2, strict=True)
    ]
    shape = [max(size, 3) for size in shape]  # something is left where both ends are cut
    operands = [("float32", shape), np.asarray(pads, np.int64)]
    if mode == "constant" and draw(st.booleans()):
        operands.append(np.asarray(draw(st.sampled_from([0.0, -1.5, 7.0])), np.float32))
    return node_case("Pad", operands, opset=19, mode=mode)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding(mode: str, examples: int) -> None:
    for_all(paddings(mode), examples)


@st.composite
def resizings(draw: st.DrawFn) -> Case:
    """To twice, a half, or any size; nearest and linear, as exporters write them."""
    shape = [1, draw(st.integers(1, 3)), draw(st.integers(2, 7)), draw(st.integers(2, 7))]
    attributes: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"mode": "nearest", "nearest_mode": "floor"},
                {"mode": "nearest", "nearest_mode": "round_prefer_floor"},
                {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
                {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
                {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
            ]
        )
    )
    if attributes["mode"] == "nearest":
        attributes = {**attributes, "coordinate_transformation_mode": "asymmetric"}
    # TVM cannot align the corners of one element: it divides by the distance between them.
    corners = attributes["coordinate_transformation_mode"] == "align_corners"
    if not corners and draw(st.booleans()):
        # A scale that makes no whole number of elements is refused.
        halves = [] if shape[2] % 2 else [0.5]
        scales = [1.0, 1.0, draw(st.sampled_from([*halves, 1.0, 2.0, 3.0])), 2.0]
        operands = [("float32", shape), None, np.asarray(scales, np.float32)]
    else:
        sizes = st.integers(2 if corners else 1, 12)
        size = [*shape[:2], draw(sizes), draw(sizes)]
        operands = [("float32", shape), None, None, np.asarray(size, np.int64)]
    # The weights of linear interpolation are differences of positions: 2 ** -21 of 12.
    return node_case("Resize", operands, tolerance=1e-5, **attributes)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_resizing(examples: int) -> None:
    for_all(resizings(), examples)
