"""Scales of values, weights and biases, at their borders."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.quantization.scales import (
    QMAX,
    QMIN,
    bias_scales,
    quantize_bias,
    quantize_weight,
    value_scale,
)


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (-5.0, 0.0), (-1e-6, 1e-6)])
def test_zero_is_met_exactly_and_the_ends_to_half_a_step(low: float, high: float) -> None:
    scale = value_scale(low, high)
    assert QMIN <= scale.zero_point <= QMAX
    reach = [(q - scale.zero_point) * scale.scale for q in (QMIN, QMAX)]
    assert abs(reach[0] - low) <= 0.51 * scale.scale
    assert abs(reach[1] - high) <= 0.51 * scale.scale


@pytest.mark.parametrize("high", [0.0, 1e-41])
def test_value_that_is_always_zero_has_no_denormal_scale(high: float) -> None:
    assert value_scale(0.0, high).scale == 1.0


def test_weights_are_within_half_a_step_of_their_channel() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    weight *= np.array([1, 10, 100, 0.001], np.float32)[:, None, None, None]
    got = quantize_weight(weight, 0, None, 0.1)
    assert np.abs(got.numbers).max(axis=(1, 2, 3)).tolist() == [127] * 4
    error = np.abs(got.real() - weight).max(axis=(1, 2, 3))
    assert (error <= 0.501 * got.scales).all()


def test_weight_as_a_whole_has_one_scale() -> None:
    got = quantize_weight(np.array([[1.0, -2.0]], np.float32), None, None, 0.1)
    assert got.scales.shape == ()
    assert got.numbers.tolist() == [[64, -127]]


def test_bias_of_a_channel_without_weights_is_kept() -> None:
    weight = np.array([[0.5, -1.0], [0.0, 0.0], [1e-9, 0.0]], np.float32)
    bias = np.array([0.25, 3.0, 5.0], np.float32)
    got = quantize_weight(weight, 0, bias, 0.02)
    scales = bias_scales(got, 0.02, 3)
    back = quantize_bias(bias, got, 0.02) * scales.astype(np.float64)
    assert np.abs(back - bias).max() < 1e-4
    assert got.numbers[1].tolist() == [0, 0]
