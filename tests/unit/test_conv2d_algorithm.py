"""When a convolution gets Winograd, and with which tiles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.pipeline import compile as compile_model
from compiler.stages.conv2d_algorithm import choose_winograd, direct_cycles, winograd_cycles
from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.winograd import TileGrid, winograd_weight
from tests import signatures
from tests.lowered import fixed_spec
from tests.onnx_models import make_model, weights

PLENTY = 1 << 24
SIG = signatures.conv2d(64, 64, 56)


def test_large_planes_get_large_tiles() -> None:
    grid = choose_winograd(SIG, fixed_spec(), PLENTY)
    assert grid is not None
    assert grid.tile == 4
    assert winograd_cycles(SIG, grid, fixed_spec()) < direct_cycles(SIG, fixed_spec())


def test_large_weights_get_small_tiles() -> None:
    """The transformed weights of large tiles are 4 times the weights, and come from memory."""
    sig = replace(SIG, height=7, width=7, in_channels=512, out_channels=512)
    grid = choose_winograd(sig, fixed_spec().with_cores(1), PLENTY)
    assert grid is not None
    assert grid.tile == 2


@pytest.mark.parametrize(
    "sig",
    [
        replace(SIG, strides=(2, 2)),
        replace(SIG, dilation=(2, 2)),
        replace(SIG, kernel=(3, 1)),
        replace(SIG, kernel=(5, 5)),
        replace(SIG, groups=2),
        replace(SIG, out_channels=60),
        replace(SIG, in_channels=12),
        replace(SIG, height=3, width=3),  # one tile, most of it beyond the edge
    ],
    ids=lambda sig: f"{sig.kernel}{sig.strides}{sig.dilation}{sig.groups}{sig.out_channels}",
)
def test_direct_sums_where_winograd_is_not_possible_or_not_faster(sig: Conv2dSignature) -> None:
    assert choose_winograd(sig, fixed_spec(), PLENTY) is None


def test_scratch_stays_within_its_budget() -> None:
    operands = 4 * 2 * 64 * 56 * 56
    grid = choose_winograd(SIG, fixed_spec(), operands)
    assert grid is not None
    assert 4 * grid.points**2 * grid.chunk_tiles * (64 + 64) <= 0.2 * operands
    assert choose_winograd(SIG, fixed_spec(), operands // 20) is None


def test_microcontrollers_keep_their_small_weights() -> None:
    assert choose_winograd(SIG, replace(fixed_spec(), family="mcu"), PLENTY) is None


@pytest.mark.parametrize("tile", [2, 4])
def test_weights_of_an_impulse_are_the_outer_product_of_one_column(tile: int) -> None:
    weight = np.zeros((8, 1, 3, 3), np.float32)
    weight[:, 0, 0, 0] = 1.0  # G g G^T is then the first column of G with itself
    points = winograd_weight(weight, tile, 8)[:, :, 0, 0, 0]
    assert points.shape == (tile + 2, tile + 2)
    assert np.linalg.matrix_rank(points) == 1
    assert points[0, 0] == {2: 1.0, 4: 1.0 / 16.0}[tile]
    assert points[-1, -1] == 0.0


def test_grid_covers_what_it_says() -> None:
    grid = TileGrid(tile=4, chunks=(2, 3), chunk=(1, 5))
    assert (grid.points, grid.chunk_tiles, grid.tiles, grid.extent) == (6, 5, 30, (8, 60))


@pytest.mark.parametrize("exact", [False, True])
def test_exact_has_no_winograd_and_the_check_says_how_far_winograd_is_off(
    tmp_path: Path, exact: bool
) -> None:
    node = helper.make_node
    model = make_model(
        [
            node("Conv", ["x", "w0"], ["c0"], name="first"),
            node("Conv", ["c0", "w1"], ["c1"], name="second", pads=[1, 1, 1, 1]),
            node("Conv", ["c1", "w2"], ["y"], name="third"),
        ],
        inputs={"x": ("float32", [1, 32, 40, 40])},
        outputs={"y": ("float32", [1, 16, 40, 40])},
        constants={
            "w0": weights(64, 32, 1, 1, seed=0),
            "w1": weights(64, 64, 3, 3, seed=1),
            "w2": weights(16, 64, 1, 1, seed=2),
        },
    )
    onnx.save(model, tmp_path / "model.onnx")
    artifact = compile_model(
        tmp_path / "model.onnx", target="host", output=tmp_path / "made", exact=exact
    )
    assert artifact.manifest.provenance.options["exact"] is exact
    schedules = {call["schedule"]["name"] for call in artifact.report()["kernels"]}
    assert ("winograd" in schedules) is not exact
    verification = json.loads(artifact.verification_path.read_text(encoding="utf-8"))
    error = verification["winograd_max_relative"]
    assert error is None if exact else 0 < error < 1e-4
