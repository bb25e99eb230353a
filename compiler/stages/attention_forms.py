"""The forms that an attention may have: one kernel, with tiles of some shape, or kernels apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from compiler.stages.operators.attention import AttentionShape
from compiler.stages.operators.attention_tile import (
    AttentionTile,
    Machine,
    attention_tiles,
    most_beside,
)
from compiler.tuning.record import Choice

_APART: Choice = {"algorithm": "apart"}
_MOST_TILES = 4  # that a search may try


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionForms:
    """The forms of one attention on one target; a record's is held to what registers hold."""

    shape: AttentionShape
    machine: Machine

    def options(self) -> list[Choice]:
        """What a search may try, the default first: the tile with the fewest estimated cycles."""
        one = self.shape
        tiles = attention_tiles(one.rows, one.positions, one.columns, self.machine)
        return [*map(_fused, tiles[:_MOST_TILES]), _APART]

    def tile(self, choice: Choice) -> AttentionTile | None:
        """Return the tile that a choice asks for, None for kernels apart.

        Raises:
            ValueError: why the attention cannot have it.
        """
        if choice == _APART:
            return None
        sizes = [choice.get(name) for name in ("vectors", "scores", "values", "span")]
        if choice.get("algorithm") != "fused" or not all(type(s) is int and s > 0 for s in sizes):
            raise ValueError("there is no such form of attention")
        tile = AttentionTile(*map(int, filter(None, sizes)))
        if max(tile.scores, tile.values) > most_beside(tile.vectors, self.machine):
            raise ValueError("its tile does not fit the registers")
        if tile.span > self.shape.positions:
            raise ValueError("there are fewer positions than its span")
        return tile

    def refused(self, choice: Choice) -> str:
        """Return why the attention cannot have a form; "" if it can."""
        try:
            self.tile(choice)
        except ValueError as problem:
            return str(problem)
        return ""


def _fused(tile: AttentionTile) -> Choice:
    return {"algorithm": "fused", **asdict(tile)}


def attention_text(shape: AttentionShape) -> str:
    """Return the signature of choice records."""
    scores = "x".join(map(str, (*shape.batch, shape.rows, shape.positions)))
    return f"attention float32 {scores} depth {shape.depth} columns {shape.columns}"
