"""Operands of small integers in shared memory, copied four bytes at a time."""

from __future__ import annotations

from typing import Any

from tvm import s_tir

from schedules import match, roles

BYTE_BITS = 8
WORD = 4  # bytes


def share_words(
    sch: s_tir.Schedule, gathered: Any, step: Any, sums: int, threads: tuple[int, int]
) -> None:
    """Gather a tile of ``[batch, row, word, byte]`` with all threads of a block at the loop `step`.

    It lies as [batch, row of a thread, thread, depth]. Neighbours in a warp take words that lie
    together; where four bytes do not, as with three channels, each is read alone.

    Args:
        sums: rows of one thread.
        threads: of the block, along y and x.
    """
    sch.set_scope(gathered, 0, "shared")  # before: what all threads of the block read is gathered
    sch.compute_at(gathered, step, preserve_unit_loops=True)
    sch.transform_layout(
        gathered,
        ("write", 0),
        lambda batch, row, word, byte: (batch, row % sums, row // sums, word * WORD + byte),
    )
    row, word, byte = list(sch.get_loops(gathered))[-3:]
    tile = sch.fuse(row, word)
    _, outer, inner = sch.split(tile, factors=[None, *threads])
    sch.bind(outer, "threadIdx.y")
    sch.bind(inner, "threadIdx.x")
    if match.word(sch, gathered, roles.GPU_WORDS) == "together":
        sch.vectorize(byte)
