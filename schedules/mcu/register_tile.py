"""How many sums a scalar machine keeps in its registers, and at how many positions."""

from __future__ import annotations

# Around a step of the reduction: two pointers moved, a comparison, a branch.
LOOP_INSTRUCTIONS = 4


def choose_columns(columns: int, lanes: int, taps: int, registers: int) -> int:
    """Return how many neighbouring positions are summed together, for `lanes` channels each.

    A step of the reduction loads the weights of all lanes and taps and the inputs of all
    positions, and multiplies each with each; the tile with the fewest instructions for the whole
    row wins. Registers hold the sums, the weights of one tap and an input.

    Args:
        columns: positions in a row.
        taps: of the kernel in a row; unrolled, so that neighbours share inputs.
    """
    most = max(1, (registers - lanes - 1) // lanes)
    return min(
        range(1, min(columns, most) + 1), key=lambda c: _instructions(c, columns, lanes, taps)
    )


def _instructions(tile: int, columns: int, lanes: int, taps: int) -> tuple[float, int]:
    whole, rest = divmod(columns, tile)
    # A last tile that is smaller needs code of its own, which takes flash: half a tile more.
    total = whole * _step(tile, lanes, taps) + (_step(rest, lanes, taps) * 1.5 if rest else 0.0)
    return total, tile


def _step(tile: int, lanes: int, taps: int) -> float:
    return tile * lanes * taps + lanes * taps + (tile + taps - 1) + LOOP_INSTRUCTIONS
