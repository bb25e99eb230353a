"""The forms that a convolution may have: algorithm, tiles, and the layout of its result.

The default is what estimates say (`conv2d_algorithm`, `conv2d_lanes`). A record may say otherwise:
then the form is still held to what is possible here, and to the budget of scratch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from compiler.stages.conv2d_algorithm import (
    budget_bytes,
    choose_winograd,
    is_winograd_possible,
    scratch_bytes,
    winograd_grids,
)
from compiler.stages.conv2d_lanes import columns_in_lanes, may_have_columns, row_vectors
from compiler.stages.operators.channel_blocks import LEAST_BLOCK, channel_block
from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.winograd import TILE_SIZES, TileGrid
from compiler.target_spec import TargetSpec
from compiler.tuning.record import Choice


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dForm:
    """One form. Plain results have no block; a depthwise result has the block of its data."""

    algorithm: Literal["direct", "winograd", "columns"]
    block: int | None = None  # channels in a block of the result, where readers want blocks
    grid: TileGrid | None = None  # of Winograd
    vectors: int | None = None  # in a row with columns in lanes

    @property
    def choice(self) -> Choice:
        """The form as a record says it."""
        if self.vectors is not None:
            return {"algorithm": self.algorithm, "vectors": self.vectors}
        tiles = {}
        if self.grid is not None:
            chunks = {"chunks": list(self.grid.chunks), "chunk": list(self.grid.chunk)}
            tiles = {"tile": self.grid.tile, **chunks}
        return {"algorithm": self.algorithm, "block": self.block or 1, **tiles}


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dForms:
    """The forms of convolutions in one model on one target."""

    spec: TargetSpec
    exact: bool  # no Winograd
    arena_bytes: int  # what the model's arena will be at least, about: scratch is a share of it
    bfloats: bool = False  # direct sums over blocked channels are of bfloat16

    def default(self, sig: Conv2dSignature) -> Conv2dForm:
        """The form that takes the fewest estimated cycles."""
        grid = None
        if not self.exact:
            grid = choose_winograd(sig, self.spec, self.arena_bytes, bfloats=self.bfloats)
        if grid is not None:
            return Conv2dForm(algorithm="winograd", block=self._block(sig), grid=grid)
        vectors = columns_in_lanes(sig, self.spec, bfloats=self.bfloats)
        if vectors is not None:
            return Conv2dForm(algorithm="columns", vectors=vectors)
        return Conv2dForm(algorithm="direct", block=self._block(sig))

    def options(self, sig: Conv2dSignature) -> tuple[Conv2dForm, ...]:
        """What a search may try, the default first."""
        default, block = self.default(sig), self._block(sig)
        found = [default, Conv2dForm(algorithm="direct", block=block)]
        found += [Conv2dForm(algorithm="winograd", block=block, grid=g) for g in self._grids(sig)]
        if may_have_columns(sig, self.spec):
            vectors = row_vectors(sig, self.spec)
            found.append(Conv2dForm(algorithm="columns", vectors=vectors))
        if default.vectors is None:
            found += [
                Conv2dForm(algorithm=default.algorithm, block=other, grid=default.grid)
                for other in self._blocks(sig)
            ]
        return tuple(dict.fromkeys(found))

    def form(self, sig: Conv2dSignature, choice: Choice) -> Conv2dForm:
        """Return the form that a record asks for.

        Raises:
            ValueError: why the convolution cannot have it here.
        """
        algorithm = choice.get("algorithm")
        if algorithm == "winograd":
            return Conv2dForm(
                algorithm="winograd",
                block=self._given_block(sig, choice),
                grid=self._grid(sig, choice),
            )
        if algorithm == "columns":
            vectors = choice.get("vectors")
            if not may_have_columns(sig, self.spec) or type(vectors) is not int:
                raise ValueError("columns of a row cannot be in lanes")
            if vectors * self.spec.lanes(dtype_bits=32) < sig.out_extent[1]:
                raise ValueError(f"{vectors} vectors do not hold a row")
            return Conv2dForm(algorithm="columns", vectors=vectors)
        if algorithm == "direct":
            return Conv2dForm(algorithm="direct", block=self._given_block(sig, choice))
        raise ValueError(f"there is no algorithm {algorithm!r}")

    def refused(self, sig: Conv2dSignature, choice: Choice) -> str:
        """Return why the convolution cannot have a form; "" if it can."""
        try:
            self.form(sig, choice)
        except ValueError as problem:
            return str(problem)
        return ""

    def _block(self, sig: Conv2dSignature) -> int | None:
        channels = sig.in_channels if sig.is_depthwise else sig.group_out_channels
        return channel_block(channels, self.spec.lanes(dtype_bits=32))

    def _blocks(self, sig: Conv2dSignature) -> Iterator[int | None]:
        """Other blocks than the widest: half of it, and none."""
        block = self._block(sig)
        if block is None:
            return
        if block // 2 >= LEAST_BLOCK and not sig.is_depthwise:
            yield block // 2
        yield None

    def _given_block(self, sig: Conv2dSignature, choice: Choice) -> int | None:
        block, widest = choice.get("block"), self._block(sig) or 0
        if block == 1:
            return None
        if block not in [widest // part for part in (1, 2, 4, 8)] or block < LEAST_BLOCK:
            raise ValueError(f"its channels are no blocks of {block}")
        return int(block)

    def _grids(self, sig: Conv2dSignature) -> Iterator[TileGrid]:
        """Of each tile size the best grids by estimate: of any, smaller and larger chunks."""
        if self.exact or not is_winograd_possible(sig, self.spec):
            return
        ranked = winograd_grids(sig, self.spec, self.arena_bytes)
        for tile in TILE_SIZES:
            grids = [grid for grid in ranked if grid.tile == tile]
            if not grids:
                continue
            first = grids[0].chunk_tiles
            yield grids[0]
            yield from [grid for grid in grids if 2 * grid.chunk_tiles <= first][:1]
            yield from [grid for grid in grids if grid.chunk_tiles >= 2 * first][:1]

    def _grid(self, sig: Conv2dSignature, choice: Choice) -> TileGrid:
        if self.exact:
            raise ValueError("no Winograd where sums are to be exact")
        if not is_winograd_possible(sig, self.spec):
            raise ValueError("Winograd cannot compute it here")
        try:
            (down, across), (rows, columns) = choice["chunks"], choice["chunk"]
            grid = TileGrid(tile=choice["tile"], chunks=(down, across), chunk=(rows, columns))
            numbers = (grid.tile, down, across, rows, columns)
            known = grid.tile in TILE_SIZES and all(type(n) is int and n > 0 for n in numbers)
        except (KeyError, TypeError, ValueError) as cause:
            raise ValueError("its tiles are none") from cause
        if not known or not grid.just_covers(sig.out_extent):
            raise ValueError("its tiles do not fit the result")
        needed, most = scratch_bytes(sig, grid), budget_bytes(sig, grid, self.arena_bytes)
        if needed > most:
            raise ValueError(
                f"it needs {needed:,} bytes of scratch, {int(most):,} are the most here"
            )
        return grid


def conv2d_text(sig: Conv2dSignature, dtype: str) -> str:
    """Return the signature of choice records."""
    data = (sig.batch, sig.in_channels, sig.height, sig.width)
    weight = (sig.out_channels, sig.in_channels // sig.groups, *sig.kernel)
    shapes = " ".join("x".join(map(str, shape)) for shape in (data, weight))
    strides, pads, dilation = (",".join(map(str, v)) for v in (sig.strides, sig.pads, sig.dilation))
    text = f"conv2d {dtype} {shapes} strides {strides} pads {pads} groups {sig.groups}"
    return text if sig.dilation == (1, 1) else f"{text} dilation {dilation}"
