"""A model whose results lie on, and one step of float32 beside, the middle between two integers.

What rounds otherwise than the contract gives other bytes somewhere: a product and a sum contracted
to one fused multiply-add, halves rounded away from zero, a division in place of the product, a
product in place of a division. `MISTAKES` are these in NumPy, so that a test can show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from tests.integer_reference import IntegerReference, convolution
from tests.quantized_models import QdqBuilder

CHANNELS, SIDE = 24, 8
INPUT_SCALE = np.float32(0.3)  # of the real input; no power of two

Arrays = dict[str, np.ndarray]


def near_ties(seed: int = 0) -> tuple[onnx.ModelProto, Arrays]:
    """The model, and the only inputs that it is made for."""
    b, random, given = QdqBuilder(), np.random.default_rng(seed), Arrays()
    for channels, taps, groups in ((16, 1, 1), (3, 3, 1), (CHANNELS, 3, CHANNELS)):
        _convolution(b, random, given, channels, taps, groups)
    _product(b, random, given)
    _factors(b, given)
    _mean(b, random, given)
    _boundary(b, given)
    return b.model(), given


def _data(b: QdqBuilder, given: Arrays, q: np.ndarray) -> str:
    """An input of int8 whose real is the integer."""
    name = b.input(*q.shape)
    given[name] = q.astype(np.int8)
    return b.dequantized(name, 1.0, 0, "int8")


def _weight(b: QdqBuilder, q: np.ndarray, scale: np.ndarray, axis: int) -> str:
    zeros = np.zeros(len(scale))
    return b.dequantized(b.constant(q.astype(np.int8)), scale, zeros, "int8", axis=axis)


def _near(sums: np.ndarray, place: int) -> np.float32:
    """A factor that brings one of the sums near a half: a nearest float32, or a step beside.

    Of the nearest, one whose product with the sum is the half in float32 but not exactly, where
    there is one: rounding twice, as the contract has it, and once, as a fused multiply-add, differ.
    """
    totals = np.unique(sums[sums != 0])[:, None].astype(np.float64)
    halves = np.arange(-30, 30)[None, :] + 0.5
    factors = (halves / totals).astype(np.float32)
    exact = factors.astype(np.float64) * totals
    twice = totals.astype(np.float32) * factors == halves.astype(np.float32)
    telling = (factors > 0) & twice & (np.rint(exact) != np.rint(halves))
    found = factors[telling] if telling.any() else factors[factors > 0]
    factor = found[place * 7 % len(found)]
    beside = (np.float32(0), np.float32(1e9))
    return np.float32(factor if place % 4 < 2 else np.nextafter(factor, beside[place % 2]))


def _convolution(
    b: QdqBuilder,
    random: np.random.Generator,
    given: Arrays,
    channels: int,
    taps: int,
    groups: int,
) -> None:
    data = random.integers(-128, 128, (1, channels, SIDE, SIDE))
    weight = random.integers(-127, 128, (CHANNELS, channels // groups, taps, taps))
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=groups)
    sums = convolution(data, weight, node)[0].reshape(CHANNELS, -1)
    scale = np.array([_near(own, place) for place, own in enumerate(sums)], np.float32)
    made = b.node("Conv", _data(b, given, data), _weight(b, weight, scale, 0), group=groups)
    b.output(made, 1.0, -3)


def _product(b: QdqBuilder, random: np.random.Generator, given: Arrays) -> None:
    left, right = random.integers(-128, 128, (5, 40)), random.integers(-127, 128, (40, CHANNELS))
    scale = np.array([_near(own, place) for place, own in enumerate((left @ right).T)], np.float32)
    weight = _weight(b, right, scale, 1)
    b.output(b.node("MatMul", _data(b, given, left), weight), 1.0, 7)


def _factors(b: QdqBuilder, given: Arrays) -> None:
    """All integers, by factors that are no powers of two: odd multiples of a half, nearly."""
    every = np.arange(-128, 128).reshape(1, 256)
    one = np.array([[-5, 3, 7, 11, 25, -33, 2]]).T
    for scale in (6.0, 10.0, 14.0, 22.0, 2.0):
        b.output(_data(b, given, every), scale, 1)
    b.output(b.node("Mul", _data(b, given, every), _data(b, given, one)), 14.0, 0)
    b.output(b.node("Add", _data(b, given, every), _data(b, given, one)), 2.0, 1)
    product = b.node("Mul", _data(b, given, every), _data(b, given, one))
    b.output(b.node("Relu", product), 26.0, 2)


def _mean(b: QdqBuilder, random: np.random.Generator, given: Arrays) -> None:
    """Means of 49 that are odd, in quanta of 2."""
    odd = 2 * random.integers(-50, 50, CHANNELS) + 1
    images = [mean + random.permutation(np.arange(-24, 25)) for mean in odd]
    data = _data(b, given, np.reshape(images, (1, CHANNELS, 7, 7)))
    b.output(b.node("GlobalAveragePool", data), 2.0, 1)


def _boundary(b: QdqBuilder, given: Arrays) -> None:
    """Reals at halves of the quantizer's step, and the float32 before and behind each."""
    halves = (np.arange(-120, 120) + np.float32(0.5)) * INPUT_SCALE
    around = [np.nextafter(halves, np.float32(end)) for end in (-np.inf, np.inf)]
    reals = np.stack([halves, *around]).astype(np.float32)
    name = b.input(*reals.shape, dtype="float32")
    given[name] = reals
    b.output(name, float(INPUT_SCALE), -1)


class FusedMultiplyAdd(IntegerReference):
    """Rounded once, from the exact product: what contraction makes of product and sum."""

    def scaled(self, exact: Any, factor: Any) -> Any:
        return np.rint(np.float64(np.float32(exact)) * np.float64(factor))


class HalvesAway(IntegerReference):
    """Halves rounded away from zero, as C's `roundf` does."""

    def scaled(self, exact: Any, factor: Any) -> Any:
        product = np.float64(super().scaled(exact, factor))
        return np.trunc(product + np.copysign(0.5, product))


class DividedSums(IntegerReference):
    """Divided by the factor's reciprocal."""

    def scaled(self, exact: Any, factor: Any) -> Any:
        return np.float32(exact) / (np.float32(1) / np.float32(factor))


class ReciprocalOfScale(IntegerReference):
    """The boundary's quotient as a product."""

    def quotient(self, real: Any, scale: float) -> Any:
        return real * (np.float32(1) / np.float32(scale))


MISTAKES: Mapping[str, type[IntegerReference]] = {
    "fused multiply-add": FusedMultiplyAdd,
    "halves away from zero": HalvesAway,
    "sums divided": DividedSums,
    "multiplied by the reciprocal of a scale": ReciprocalOfScale,
}
