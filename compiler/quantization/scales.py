"""Scales and zero points: int8 with a zero point for values, symmetric for each channel of weights.

Values are int8 because microcontrollers and Arm multiply signed bytes, and because onnxruntime's
kernels for x86 without VNNI add pairs of unsigned products in 16 bits, which saturates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

QMIN, QMAX = -128, 127
WEIGHT_MAX = 127  # -128 is left out, so that weights are symmetric and their zero point is 0
# Half of the int32 sums are left to the products.
LARGEST_BIAS = 2**30
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # smaller ones are denormal


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """``real = scale * (q - zero_point)`` of an int8 value."""

    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedWeight:
    """int8 numbers of a weight; scales [channels], or [] for the weight as a whole."""

    numbers: np.ndarray
    scales: np.ndarray
    axis: int | None

    def real(self) -> np.ndarray:
        """Return the float32 numbers that a dequantizer makes of it."""
        scales = along(self.scales, self.numbers.ndim, self.axis)
        return np.asarray(self.numbers * scales, np.float32)


def value_scale(low: float, high: float) -> Scale:
    """Return the scale that maps low..high, which holds 0, to int8; 0 is met exactly."""
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    bounds = (np.asarray(bound, np.float32) for bound in (low, high, QMIN, QMAX))
    zero_point, scale = compute_scale_zp(*bounds)
    step = float(scale)
    if step < SMALLEST_SCALE:  # a value that is (all but) 0 on every sample
        return Scale(scale=1.0, zero_point=int(zero_point))
    return Scale(scale=step, zero_point=int(zero_point))


def quantize_weight(
    weight: np.ndarray, axis: int | None, bias: np.ndarray | None, operand_scale: float
) -> QuantizedWeight:
    """Return a weight in int8, symmetric, with one scale for each channel along `axis`.

    A scale is made larger where the bias would not fit into its int32 sums otherwise: a channel
    of tiny weights and a large bias is common where training has switched a channel off.
    """
    largest = _largest(weight, axis)
    scales = largest / WEIGHT_MAX
    if bias is not None and axis is not None:
        scales = np.maximum(scales, np.abs(bias.reshape(-1)) / (operand_scale * LARGEST_BIAS))
    scales = np.maximum(scales, _smallest_useful(scales)).astype(np.float32)
    steps = weight / along(scales, weight.ndim, axis)
    numbers = np.clip(np.rint(steps), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
    return QuantizedWeight(numbers=numbers, scales=scales, axis=axis)


def quantize_bias(bias: np.ndarray, weight: QuantizedWeight, operand_scale: float) -> np.ndarray:
    """Return the bias [channels] in int32, in the unit of the sums that it starts."""
    steps = bias.astype(np.float64) / bias_scales(weight, operand_scale, bias.size)
    limit = np.iinfo(np.int32).max
    return np.asarray(np.clip(np.rint(steps), -limit, limit), np.int32)


def bias_scales(weight: QuantizedWeight, operand_scale: float, channels: int) -> np.ndarray:
    """Return the scale of each bias: operand times weight, float32 as a dequantizer reads it."""
    scales = np.float32(operand_scale) * weight.scales
    return np.broadcast_to(scales, (channels,)).astype(np.float32)


def along(scales: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    """Return scales in a shape that multiplies a tensor of `rank` along `axis`."""
    if axis is None:
        return scales.reshape((1,) * rank)
    return scales.reshape([-1 if position == axis else 1 for position in range(rank)])


def _largest(weight: np.ndarray, axis: int | None) -> np.ndarray:
    others = tuple(position for position in range(weight.ndim) if position != axis)
    return np.asarray(np.abs(weight).max(axis=others), np.float64)


def _smallest_useful(scales: np.ndarray) -> float:
    """Return a scale for channels that are 0: not far below the others, so that a bias fits."""
    used = scales[scales > SMALLEST_SCALE]
    return max(float(used.min()) * 2.0**-8 if used.size else 1.0 / WEIGHT_MAX, SMALLEST_SCALE)
