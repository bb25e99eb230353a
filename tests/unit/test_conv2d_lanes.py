"""Which convolutions have columns in vector lanes: a choice by channels, columns and lanes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.stages.conv2d_lanes import columns_in_lanes
from compiler.stages.operators.conv2d_columns import tap_run
from compiler.target_spec import load_target
from tests.lowered import fixed_spec
from tests.signatures import conv2d

WIDE = load_target("x86-64-v4")  # 16 lanes


def test_one_output_channel_has_columns_in_lanes() -> None:
    assert columns_in_lanes(conv2d(32, 1, 64), fixed_spec()) == 8
    assert columns_in_lanes(conv2d(32, 1, 64), WIDE) == 4


def test_a_row_is_made_longer_where_that_divides_better() -> None:
    """11 vectors are a prime number of them: 12 are two tiles of 6."""
    assert columns_in_lanes(conv2d(32, 1, 88), fixed_spec()) == 12


def test_half_a_vector_of_channels_fills_it_worse_than_columns() -> None:
    assert columns_in_lanes(conv2d(16, 8, 64), WIDE) is not None


def test_a_vector_of_many_channels_stays() -> None:
    assert columns_in_lanes(conv2d(16, 16, 64), fixed_spec()) is None


def test_columns_that_fill_no_vector_stay() -> None:
    assert columns_in_lanes(conv2d(16, 4, 3), fixed_spec()) is None


def test_groups_of_few_channels_have_columns_in_lanes() -> None:
    assert columns_in_lanes(conv2d(64, 64, 32, groups=16), fixed_spec()) is not None


@pytest.mark.parametrize(
    "changes", [{"kernel": (1, 1), "pads": (0, 0, 0, 0)}, {"groups": 32, "out_channels": 32}]
)
def test_pointwise_and_depthwise_are_left_to_their_own_rules(changes: dict[str, Any]) -> None:
    assert columns_in_lanes(replace(conv2d(32, 2, 64), **changes), fixed_spec()) is None


def test_no_vectors_no_columns() -> None:
    spec = replace(fixed_spec(), vector=replace(fixed_spec().vector, width_bits=32))
    assert columns_in_lanes(conv2d(32, 1, 64), spec) is None


@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "run"),
    [(39, 1, 1, 1), (256, 2, 1, 2), (256, 4, 2, 2), (3, 2, 1, 3), (9, 2, 1, 1), (5, 2, 2, 1)],
)
def test_taps_in_a_run(taps: int, stride: int, dilation: int, run: int) -> None:
    changes = {"kernel": (1, taps), "strides": (1, stride), "dilation": (1, dilation)}
    assert tap_run(conv2d(1, 1, 600, **changes)) == run


def test_scalable_vectors_hold_output_channels() -> None:
    assert columns_in_lanes(conv2d(32, 1, 64), load_target("neoverse-v1")) is None
