"""Winograd convolutions of every shape and chunk against onnxruntime."""

from __future__ import annotations

from math import ceil
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from onnx import helper

from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.winograd import TILE_SIZES, TileGrid
from compiler.target_spec import TargetSpec
from tests.differential.agreement import EXAMPLES, Case, for_all, host
from tests.onnx_models import make_model, weights

# Sums of transformed numbers, some 8 times as large as the data, that cancel: 24 bits less 3, and
# less what a few hundred terms lose; the largest seen is 2e-5.
TOLERANCE = 1e-4


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """Pointwise, 3 x 3 and pointwise: the one between has blocked data on both sides."""
    lanes = host().lanes(dtype_bits=32)
    inner, outer = (lanes * draw(st.integers(1, 5)) for _ in range(2))
    height, width = draw(st.integers(1, 19)), draw(st.integers(1, 19))
    pads = [draw(st.integers(max(0, 3 - height), 2)), draw(st.integers(max(0, 3 - width), 2)), 0, 0]
    pads[2:] = [draw(st.integers(0, 2)), draw(st.integers(0, 2))]
    out_height, out_width = height + pads[0] + pads[2] - 2, width + pads[1] + pads[3] - 2
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], name="first"),
        node("Conv", ["c0", "w1", "b1"], ["c1"], name="between", pads=pads),
        node("Relu", ["c1"], ["r1"], name="relu"),
        *([node("Conv", ["r1", "w2"], ["y"], name="last")] if draw(st.booleans()) else []),
    ]
    nodes[-1].output[0] = "y"
    blocked = len(nodes) == 4
    channels = 4 if blocked else outer
    model = make_model(
        nodes,
        inputs={"x": ("float32", [1, 4, height, width])},
        outputs={"y": ("float32", [1, channels, out_height, out_width])},
        constants={
            "w0": weights(inner, 4, 1, 1, seed=0),
            "w1": weights(outer, inner, 3, 3, seed=1),
            "b1": weights(outer, seed=2),
            **({"w2": weights(4, outer, 1, 1, seed=3)} if blocked else {}),
        },
    )
    text = f"{inner}x{height}x{width} -> {outer}, pads {pads}, blocked {blocked}"
    return Case(text, model, tolerance=TOLERANCE, threads=draw(st.integers(1, 2)))


def _some_grid(
    sig: Conv2dSignature, spec: TargetSpec, arena_bytes: int, *, bfloats: bool
) -> TileGrid | None:
    """Tiles of any size in chunks of any shape, drawn by the signature alone."""
    del spec, arena_bytes, bfloats
    if sig.kernel != (3, 3):
        return None
    number = sum(sig.out_extent) + sig.in_channels // 4
    tile = TILE_SIZES[number % len(TILE_SIZES)]
    down, across = (ceil(extent / tile) for extent in sig.out_extent)
    rows, columns = 1 + number % down, 1 + number // 2 % across
    return TileGrid(
        tile=tile, chunks=(ceil(down / rows), ceil(across / columns)), chunk=(rows, columns)
    )


@pytest.mark.parametrize("examples", EXAMPLES)
def test_winograd(examples: int) -> None:
    with patch("compiler.stages.conv2d_forms.choose_winograd", _some_grid):
        for_all(convolutions(), examples)
