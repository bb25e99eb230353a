"""Sums and products of two tensors of small integers, exact in int32."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx, topi


def weighted_sum(one: te.Tensor, other: te.Tensor, *, weights: tuple[int, int]) -> te.Tensor:
    """int32 ``weights[0] * one + weights[1] * other``, broadcast."""

    def term(operand: te.Tensor, weight: int) -> te.Tensor:
        def element(*indices: Any) -> Any:
            return operand[indices].astype("int32") * tirx.const(weight, "int32")

        return te.compute(operand.shape, element, name="weighted")

    return topi.add(term(one, weights[0]), term(other, weights[1]))


def integer_product(one: te.Tensor, other: te.Tensor, *, zeros: tuple[int, int]) -> te.Tensor:
    """int32 ``(one - zeros[0]) * (other - zeros[1])``, broadcast."""

    def centred(operand: te.Tensor, zero: int) -> te.Tensor:
        def element(*indices: Any) -> Any:
            return operand[indices].astype("int32") - tirx.const(zero, "int32")

        return te.compute(operand.shape, element, name="centred")

    return topi.multiply(centred(one, zeros[0]), centred(other, zeros[1]))


def as_int32(data: te.Tensor) -> te.Tensor:
    """The integers in 32 bits."""
    return te.compute(data.shape, lambda *i: data[i].astype("int32"), name="widened")
