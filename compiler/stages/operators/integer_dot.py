"""How a machine multiplies small integers and sums the products in 32 bits."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.target_spec import TargetSpec

# Sums that share an input that is loaded, where a register holds one number.
SCALAR_LANES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerDot:
    """The shape of one step: `lanes` sums in 32 bits, each of `group` products."""

    lanes: int  # output channels side by side in packed weights
    group: int = 1  # input channels side by side: 4 for VNNI and sdot, 2 for pairs of int16
    # Of the rows that sums read. None: the data's own, zero point folded into the bias. int16:
    # zero points subtracted. uint8 or int8: the other kind shifted by 128.
    row_dtype: str | None = None
    # A copy of what a pointwise convolution reads is one row of all positions: any run of them can
    # be copied alone.
    flat_positions: bool = False


def integer_dot(spec: TargetSpec) -> IntegerDot:
    """Return what integer convolutions and products of a target are packed for."""
    if spec.family == "mcu" and spec.llvm.multiplies_pairs:
        # A word of weights is two inputs of two lanes; a word of rows is two inputs.
        return IntegerDot(lanes=2, row_dtype="int16", flat_positions=True)
    if spec.family == "mcu":
        return IntegerDot(lanes=SCALAR_LANES)
    return IntegerDot(lanes=spec.lanes(dtype_bits=32))
