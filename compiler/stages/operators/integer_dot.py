"""How a machine multiplies small integers and sums the products in 32 bits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.channel_blocks import narrowest_lanes
from compiler.target_spec import GpuSpec, TargetSpec
from schedules import roles
from schedules.cpu.amx_tiles import CHUNK, TILE_CHUNKS, TILE_LANES, tile_steps
from schedules.cpu.dot_conv2d import sums_in_words
from schedules.cpu.dot_step import sums_fours, sums_pairs

# Sums that share an input that is loaded, where a register holds one number.
SCALAR_LANES = 4
# Of a group of products: below it, products one by one take fewer instructions (0.31 to 0.25 each).
EMPTY_SHARE = 0.8
# So many results are a vector of bytes; registers of sums side by side are packed into it.
WHOLE_BYTES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerDot:
    """The shape of one step: `lanes` sums in 32 bits, each of `group` products."""

    lanes: int  # output channels side by side in packed weights
    group: int = 1  # input channels side by side: 4 for VNNI and sdot, 2 for pairs of int16
    # Of the rows that sums read. None: the data's own, zero point folded into the bias. int16:
    # zero points subtracted, unless `keeps_zero`. uint8 or int8: the other kind shifted by 128.
    row_dtype: str | None = None
    # Shorter groups, for depths that they divide and `group` does not: no row is copied for them.
    short_groups: tuple[int, ...] = ()
    # A row of taps may be summed as one run where that takes fewer groups: rows lie together.
    joins_taps: bool = False
    # A copy of what a pointwise convolution reads is one row of all positions: any run of them can
    # be copied alone.
    flat_positions: bool = False
    # The like of depthwise convolutions, which have no groups; None: `row_dtype`.
    depthwise_row_dtype: str | None = None
    # Weights of depthwise convolutions are int16: a word is two channels of rows, so of weights.
    wide_depthwise_weights: bool = False
    # Blocks of lanes are as equal as can be in multiples of this: registers may be part of one.
    lane_multiple: int | None = None
    # Depthwise convolutions sum two taps a step, of rows of int16.
    pairs_taps: bool = False
    # Rows of int16 hold the data as it is: zero points are folded into the bias.
    keeps_zero: bool = False
    # Instructions that narrow results saturate, so what fits 32 bits needs no upper bound.
    saturates_results: bool = False
    # Lanes may be halved down to this where that leaves fewer of them empty.
    least_lanes: int | None = None
    least_weight: int = -128  # of weights in int8; where one is less, they are int16
    # Sums are products of tiles in shared memory (`gpu_integer_product.py`); what is no matrix
    # product has one sum for each thread, or parts of it.
    gpu: GpuSpec | None = None
    # Sums that fill tiles of AMX are products of those (`for_tiles`), of rows as the data is.
    multiplies_tiles: bool = False
    tile_step: int | None = None  # chunks of such a step, where a sum is one
    chunk_multiple: int = 1  # of a depth; what is missing is filled up with zeros
    # One product a step: for depths that would be filled up with zeros, and for lesser weights.
    otherwise: IntegerDot | None = None

    def for_sums(self, depth: int, weights: np.ndarray) -> IntegerDot:
        """The like for sums over so many channels, by these weights."""
        if self.otherwise is None:
            return self
        mostly_empty = depth < EMPTY_SHARE * self.group
        beyond = int(weights.min(initial=0)) < self.least_weight
        return self.otherwise if mostly_empty or beyond else self

    def for_depth(self, depth: int) -> IntegerDot:
        """The like for sums of so many products that lie together."""
        if depth % self.group == 0:
            return self
        fitting = [group for group in self.short_groups if depth % group == 0]
        return replace(self, group=max(fitting, default=self.group), short_groups=())

    def lanes_for(self, channels: int) -> int:
        """Return how many lanes a packed block of `channels` weights has."""
        if self.lane_multiple is not None:
            blocks = -(-channels // self.lanes)
            return -(-channels // (blocks * self.lane_multiple)) * self.lane_multiple
        if self.least_lanes is None:
            return narrowest_lanes(channels, self.lanes)
        lanes, widths = self.lanes, []
        while lanes >= self.least_lanes:
            widths.append(lanes)
            lanes //= 2
        return min(widths, key=lambda width: -(-channels // width) * width)

    def for_tiles(self, *, rows: int, depth: int, taps: int, weights: np.ndarray) -> IntegerDot:
        """The like for sums that fill tiles of AMX; itself for others.

        Args:
            rows: positions of sums whose inputs are equally far apart.
            depth: inputs of a tap.
            taps: how many of them lie together.
        """
        is_int8 = weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127
        found = tile_steps(rows, depth, taps) if self.multiplies_tiles and is_int8 else None
        if found is None:
            return self
        multiple = TILE_CHUNKS if found.is_filled_up else 1
        return replace(
            self,
            lanes=TILE_LANES,
            least_lanes=TILE_LANES,
            group=CHUNK,
            row_dtype=None,
            tile_step=found.step,
            chunk_multiple=multiple,
        )

    def chunks_for(self, depth: int) -> int:
        """Return how many groups of products a packed depth has."""
        chunks = -(-depth // self.group)
        return -(-chunks // self.chunk_multiple) * self.chunk_multiple

    def marks(self) -> dict[str, Any]:
        """What is written on a sum's block beside its role."""
        return {} if self.tile_step is None else {roles.TILE_SUMS: self.tile_step}

    @property
    def of_depthwise(self) -> IntegerDot:
        """The like for depthwise convolutions."""
        return replace(self, row_dtype=self.depthwise_row_dtype or self.row_dtype)


# Helium adds 16 products of int8 to a general register, or 8 of them widened to 16 bits, or 4.
HELIUM = IntegerDot(lanes=4, group=16, row_dtype="int8", short_groups=(8, 4), joins_taps=True)

# Many lanes of SVE, so that what is made of rows once serves all of them. With products of matrices
# a lane takes eight products of two columns at once, of either kind of data.
SVE_MATRICES = IntegerDot(lanes=64, group=8, lane_multiple=4, joins_taps=True)
SVE_DOT = IntegerDot(lanes=64, group=4, lane_multiple=4, joins_taps=True, row_dtype="int8")


def row_shift(dtype: str, zero: int, dot: IntegerDot) -> int:
    """What is added to data of `dtype` where a row is copied, so that it fits `dot.row_dtype`."""
    if dot.row_dtype in (None, dtype) or (dot.row_dtype == "int16" and dot.keeps_zero):
        return 0
    return {"int16": -zero, "uint8": 128, "int8": -128}[str(dot.row_dtype)]


def stands_around(zero: int | te.Tensor, dtype: str, rows: str, dot: IntegerDot) -> Any:
    """The integer around data of `dtype`, as it stands in rows of the type `rows`.

    Args:
        zero: a number, or int32 of one element, computed when the model runs.
    """
    if isinstance(zero, int):
        return tirx.const(zero + row_shift(dtype, zero, dot), rows)
    known = zero[(0,) * len(zero.shape)]
    return (known + tirx.const(row_shift(dtype, 0, dot), "int32")).astype(rows)


def known_zero(zero: int | te.Tensor) -> int:
    """The zero point that copies of rows subtract: none where it is known at run time only."""
    return zero if isinstance(zero, int) else 0


def integer_dot(spec: TargetSpec) -> IntegerDot:
    """Return what integer convolutions and products of a target are packed for."""
    if spec.gpu is not None:
        return IntegerDot(lanes=1, gpu=spec.gpu)
    if spec.vector.sums_products:
        return HELIUM
    if spec.family == "mcu" and spec.llvm.multiplies_pairs:
        # A word of weights is two inputs of two lanes; a word of rows is two inputs.
        return IntegerDot(
            lanes=2, row_dtype="int16", flat_positions=True, wide_depthwise_weights=True
        )
    if spec.family == "mcu":
        return IntegerDot(lanes=SCALAR_LANES)
    if spec.llvm.is_aarch64 and spec.vector.scalable:
        rows = "int8" if spec.llvm.sums_fours else "int16"
        dot = SVE_MATRICES if spec.llvm.multiplies_matrices else SVE_DOT
        return replace(dot, depthwise_row_dtype=rows)
    if spec.llvm.sums_fours:  # four registers of sums side by side, or two, or one
        return IntegerDot(
            lanes=16, group=4, row_dtype="int8", depthwise_row_dtype="int8", least_lanes=4
        )
    if spec.llvm.is_aarch64:  # two products in 16 bits
        return IntegerDot(
            lanes=16,
            group=8,
            row_dtype="int8",
            least_lanes=4,
            least_weight=-127,
            otherwise=IntegerDot(lanes=16, row_dtype="int16", least_lanes=4),
        )
    if spec.llvm.has_riscv_vectors:  # four registers of sums side by side, or fewer
        return IntegerDot(lanes=16, row_dtype="int8", least_lanes=4)
    if sums_in_words(spec):  # three words of sums, or two
        return IntegerDot(lanes=8, row_dtype="int8", least_lanes=4, least_weight=-127)
    lanes = spec.lanes(dtype_bits=32)
    if not sums_pairs(spec):
        return IntegerDot(lanes=lanes)
    pairs = IntegerDot(
        lanes=max(lanes, WHOLE_BYTES),
        least_lanes=lanes,
        group=2,
        row_dtype="int16",
        joins_taps=True,
        flat_positions=True,
        pairs_taps=True,
        depthwise_row_dtype="int16",
        keeps_zero=True,
        saturates_results=True,
        multiplies_tiles=spec.llvm.multiplies_tiles,
    )
    return replace(pairs, group=4, row_dtype="uint8") if sums_fours(spec) else pairs
