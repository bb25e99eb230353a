"""How a machine multiplies small integers and sums the products in 32 bits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.stages.operators.channel_blocks import narrowest_lanes
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
    depthwise_row_dtype: str | None = None  # of depthwise convolutions, which have no groups
    # Lanes may be halved down to this where that leaves fewer of them empty.
    least_lanes: int | None = None
    least_weight: int = -128  # of weights in int8; where one is less, they are int16

    def lanes_for(self, channels: int) -> int:
        """Return how many lanes a packed block of `channels` weights has."""
        if self.least_lanes is None:
            return narrowest_lanes(channels, self.lanes)
        lanes, widths = self.lanes, []
        while lanes >= self.least_lanes:
            widths.append(lanes)
            lanes //= 2
        return min(widths, key=lambda width: -(-channels // width) * width)

    @property
    def of_depthwise(self) -> IntegerDot:
        """The like for depthwise convolutions."""
        return replace(self, row_dtype=self.depthwise_row_dtype)


def integer_dot(spec: TargetSpec) -> IntegerDot:
    """Return what integer convolutions and products of a target are packed for."""
    if spec.family == "mcu":
        return IntegerDot(lanes=SCALAR_LANES)
    if spec.llvm.sums_fours:  # four registers of sums side by side, or two, or one
        return IntegerDot(
            lanes=16, group=4, row_dtype="int8", depthwise_row_dtype="int8", least_lanes=4
        )
    if spec.llvm.is_aarch64:  # two products in 16 bits; depthwise, differences to the zero point
        return IntegerDot(
            lanes=16,
            group=8,
            row_dtype="int8",
            depthwise_row_dtype="int16",
            least_lanes=4,
            least_weight=-127,
        )
    return IntegerDot(lanes=spec.lanes(dtype_bits=32))
