"""How a machine multiplies small integers and sums the products in 32 bits."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.target_spec import TargetSpec
from schedules.cpu.dot_step import sums_fours, sums_pairs

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


def integer_dot(spec: TargetSpec) -> IntegerDot:
    """Return what integer convolutions and products of a target are packed for."""
    if spec.family == "mcu":
        return IntegerDot(lanes=SCALAR_LANES)
    lanes = spec.lanes(dtype_bits=32)
    if sums_fours(spec):
        return IntegerDot(lanes=lanes, group=4, row_dtype="uint8")
    if sums_pairs(spec):
        return IntegerDot(lanes=lanes, group=2, row_dtype="int16")
    return IntegerDot(lanes=lanes)
