"""Products of tiles by Intel's AMX: which sums of small integers fill them.

A tile register has 16 rows of 64 bytes. One instruction multiplies 16 rows of 16 chunks, four
inputs each, by 16 chunks of 16 lanes and adds to 16 x 16 sums, in 16 cycles (Intel 64 and IA-32
Optimization Reference Manual, chapter on AMX). Tiles that are not full are taken to need as many.
`vpdpbusd`, two of which begin in a cycle, sums a chunk of one row for 16 lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

from schedules.steps import largest_divisor

TILE_ROWS, TILE_CHUNKS = 16, 16  # of inputs
TILE_LANES = 16  # of weights and sums
CHUNK = 4  # inputs
# Chunks in the rows of a tile of inputs, of 256 at most. So many are half the cycles of `vpdpbusd`;
# the other half is for shapes that are set and sums that pass through memory.
LEAST_FILLED = 64
# Zeros in a depth are copied with the rows: they have to save a quarter of the steps.
MOST_STEPS = 4 / 3


@dataclass(frozen=True, slots=True)
class TileSteps:
    """How the products of one tap, or of several whose inputs lie together, are cut into steps."""

    chunks: int  # of one tap, zeros included
    step: int  # chunks of a step: it divides those that lie together

    @property
    def is_filled_up(self) -> bool:
        """Whether a tap's chunks are more than its inputs need."""
        return self.chunks % TILE_CHUNKS == 0


def tile_steps(rows: int, depth: int, taps: int) -> TileSteps | None:
    """Return the steps of sums that fill tiles; None where they are left to `vpdpbusd`.

    Args:
        rows: positions whose inputs are equally far apart.
        depth: inputs of a tap.
        taps: how many of them lie together.
    """
    chunks = -(-depth // CHUNK)
    whole = -(-chunks // TILE_CHUNKS) * TILE_CHUNKS
    cut = largest_divisor(taps * chunks, TILE_CHUNKS)
    found = TileSteps(chunks, cut)
    if taps * chunks / cut > MOST_STEPS * taps * whole / TILE_CHUNKS:
        found = TileSteps(whole, TILE_CHUNKS)
    steps = taps * found.chunks // found.step
    filled = rows_of_tile(rows) * taps * chunks / steps
    return found if filled >= LEAST_FILLED else None


def rows_of_tile(rows: int) -> int:
    """The height of equal tiles, as few as can be."""
    return -(-rows // -(-rows // TILE_ROWS))
