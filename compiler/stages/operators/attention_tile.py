"""How many rows, positions and columns of attention a tile of registers holds."""

from __future__ import annotations

from dataclasses import dataclass

from schedules.cpu.register_tile import FLOAT_BYTES

# Multiply-adds and loads that start in a cycle, and cycles until a sum can be added to again.
_UNITS, _LOADS, _LATENCY = 2, 2, 5
# Sums of rows too many that a chunk may compute for each that is wanted.
_MOST_WASTE = 1.4


@dataclass(frozen=True, slots=True)
class AttentionTile:
    """`vectors` of rows, which are a chunk, beside `scores` positions or `values` columns."""

    vectors: int
    scores: int
    values: int
    span: int  # positions whose powers and values stay in the first cache for all columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the tile depends on; a cache that does not exist has no bytes."""

    lanes: int
    registers: int
    l1d_bytes: int


def attention_tiles(
    rows: int, positions: int, columns: int, machine: Machine
) -> list[AttentionTile]:
    """Return a tile for each number of vectors of rows, that with the fewest cycles first.

    Registers hold the sums, a vector for each of the tile's vectors of rows and one broadcast;
    cycles are those of the sums, rows and columns too many included. None is left where too many
    lanes would be of rows that there are not.
    """
    found: list[tuple[float, AttentionTile]] = []
    for vectors in range(1, max(2, (machine.registers - 1) // 2)):
        waste = _padded(rows, vectors * machine.lanes) / rows
        most = most_beside(vectors, machine)
        score_cycles, scores = min(_cycles(positions, t, vectors) for t in range(1, most + 1))
        value_cycles, values = min(_cycles(columns, t, vectors) for t in range(1, most + 1))
        cost = waste * (score_cycles + value_cycles)
        if waste <= _MOST_WASTE:
            line = (vectors * machine.lanes + columns) * FLOAT_BYTES
            span = _span(positions, machine.l1d_bytes * 3 // 4 // line)
            found.append((cost, AttentionTile(vectors, scores, values, span)))
    return [tile for _, tile in sorted(found, key=lambda one: one[0])]


def most_beside(vectors: int, machine: Machine) -> int:
    """Return how many positions or columns at most have sums in registers beside each other."""
    return max(1, (machine.registers - vectors - 1) // vectors)


def _span(positions: int, most: int) -> int:
    """At most so many positions, the fewest too many; multiples of 4 rather than others."""
    if positions <= most or not most:  # no cache, no gain
        return positions
    sizes = range(max(1, most // 2), max(1, most) + 1)
    return min(
        sizes, key=lambda size: (_padded(positions, size) * (1 if size % 4 == 0 else 1.01), -size)
    )


def _padded(size: int, tile: int) -> int:
    return -(-size // tile) * tile


def _cycles(size: int, tile: int, vectors: int) -> tuple[float, int]:
    """Cycles for a step of each vector of sums that is wanted, and the tile."""
    sums = tile * vectors
    cycles = max(sums / _UNITS, (tile + vectors) / _LOADS, _LATENCY)
    return cycles / sums * _padded(size, tile) / size, tile
