"""Offset packing: give every block of memory a place so that blocks alive together never overlap.

The problem is dynamic storage allocation, which is NP-hard. Lowest-fit placement in a good order
is optimal for some order of the blocks, so the search is over orders: a few greedy ones, then a
seeded hill climb. Everything is counted, nothing is timed, so equal input gives equal output.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

# Block-pair visits that the hill climb may spend: about 0.4 s of Python on a 2020s core.
SEARCH_WORK = 1_500_000
SEARCH_STEPS_PER_BLOCK = 40
SEED = 20_260_101


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Bytes needed from position ``first`` to position ``last`` of the program, both included."""

    first: int
    last: int
    size_bytes: int
    alignment: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """``output`` may be written over one of ``inputs``: blocks that end where it starts.

    An input is at least as large as the output. An input serves one output only.
    """

    output: int
    inputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """A place for each block; ``merged[output]`` is the block whose bytes it overwrites."""

    regions: tuple[int, ...]
    offsets: tuple[int, ...]
    used_bytes: tuple[int, ...]  # by region
    merged: dict[int, int]

    @property
    def score(self) -> tuple[int, ...]:
        """Less is better: bytes of the last (slowest) region count first."""
        return self.used_bytes[::-1]


def pack_blocks(
    blocks: Sequence[Block],
    merges: Sequence[Merge],
    region_limits: Sequence[int | None],
) -> Packing:
    """Place all blocks, filling regions in rank order.

    The limit of the last region is not applied, so that there is always an answer; its use is the
    first thing to be made small, and the caller compares it with the limit.
    """
    packer = _Packer(blocks, region_limits)
    every_merge = _first_choice(merges)
    best = None
    for choice in (every_merge, {}) if every_merge else ({},):
        for order in _greedy_orders(blocks):
            candidate = packer.place(order, choice)
            if best is None or candidate.score < best[0].score:
                best = (candidate, order, choice)
    assert best is not None
    floor = largest_live_bytes(blocks, merges)
    return _climb(packer, merges, *best, floor=floor)


def largest_live_bytes(blocks: Sequence[Block], merges: Sequence[Merge]) -> int:
    """No packing can use fewer bytes: the largest sum of sizes alive at one position."""
    if not blocks:
        return 0
    change = [0] * (max(block.last for block in blocks) + 2)
    for block in blocks:
        change[block.first] += block.size_bytes
        change[block.last + 1] -= block.size_bytes
    by_position: dict[int, list[Merge]] = {}
    for merge in merges:
        by_position.setdefault(blocks[merge.output].first, []).append(merge)
    largest = live = 0
    for position, step in enumerate(change):
        live += step
        if live > largest:
            shared = _most_shared(by_position.get(position, []), blocks, frozenset())
            largest = max(largest, live - shared)
    return largest


def _most_shared(merges: Sequence[Merge], blocks: Sequence[Block], taken: frozenset[int]) -> int:
    """Bytes saved by the best assignment of outputs to inputs within one call."""
    if not merges:
        return 0
    first, rest = merges[0], merges[1:]
    best = _most_shared(rest, blocks, taken)
    for source in first.inputs:
        if source not in taken:
            saved = blocks[first.output].size_bytes
            best = max(best, saved + _most_shared(rest, blocks, taken | {source}))
    return best


def _first_choice(merges: Sequence[Merge]) -> dict[int, int]:
    choice: dict[int, int] = {}
    taken: set[int] = set()
    for merge in merges:
        source = next((source for source in merge.inputs if source not in taken), None)
        if source is not None:
            choice[merge.output] = source
            taken.add(source)
    return choice


def _greedy_orders(blocks: Sequence[Block]) -> list[list[int]]:
    """Orders known to do well: large first, large and long first, long first, as in the program."""

    def duration(block: Block) -> int:
        return block.last - block.first + 1

    indices = range(len(blocks))
    return [
        sorted(indices, key=lambda i: (-blocks[i].size_bytes, -duration(blocks[i]), i)),
        sorted(indices, key=lambda i: (-blocks[i].size_bytes * duration(blocks[i]), i)),
        sorted(indices, key=lambda i: (-duration(blocks[i]), -blocks[i].size_bytes, i)),
        sorted(indices, key=lambda i: (blocks[i].first, -blocks[i].size_bytes, i)),
    ]


def _climb(
    packer: _Packer,
    merges: Sequence[Merge],
    best: Packing,
    order: list[int],
    choice: dict[int, int],
    *,
    floor: int,
) -> Packing:
    """Improve an order by moving blocks that reach the top to the front, and by other merges."""
    steps = min(SEARCH_STEPS_PER_BLOCK * len(order), SEARCH_WORK // packer.work_per_placement)
    good_enough = floor + floor // 200  # alignment alone can cost half a per cent
    generator = random.Random(SEED)
    for _ in range(steps):
        if best.used_bytes[0] <= good_enough and not any(best.used_bytes[1:]):
            break
        new_order, new_choice = list(order), dict(choice)
        if merges and generator.random() < 0.2:
            _change_merge(generator.choice(merges), new_choice, generator)
        _move_block(packer.blocks_at_top(best), new_order, generator)
        candidate = packer.place(new_order, new_choice)
        if candidate.score <= best.score:  # equal ones too: they lead across plateaus
            best, order, choice = candidate, new_order, new_choice
    return best


def _move_block(at_top: Sequence[int], order: list[int], generator: random.Random) -> None:
    moved = generator.choice(at_top) if generator.random() < 0.6 else generator.choice(order)
    position = order.index(moved)
    order.pop(position)
    order.insert(generator.randrange(max(position, 1)), moved)


def _change_merge(merge: Merge, choice: dict[int, int], generator: random.Random) -> None:
    choice.pop(merge.output, None)
    taken = set(choice.values())
    options = [None, *(source for source in merge.inputs if source not in taken)]
    source = generator.choice(options)
    if source is not None:
        choice[merge.output] = source


class _Packer:
    """Lowest-fit placement of blocks in a given order; which blocks meet in time is known once."""

    def __init__(self, blocks: Sequence[Block], region_limits: Sequence[int | None]) -> None:
        self._sizes = [block.size_bytes for block in blocks]
        self._alignments = [block.alignment for block in blocks]
        self._limits = region_limits
        self._neighbours = _neighbours(blocks)
        self.work_per_placement = 1 + len(blocks) + sum(map(len, self._neighbours))

    def place(self, order: Sequence[int], choice: dict[int, int]) -> Packing:
        sizes = self._sizes
        offsets, regions = [-1] * len(sizes), [0] * len(sizes)
        used = [0] * len(self._limits)
        chains = _chains(choice)
        for block in order:
            if offsets[block] >= 0:
                continue
            members = chains.get(block, (block,))
            size = max(sizes[member] for member in members)
            region, offset = self._lowest_fit(members, size, offsets, regions)
            used[region] = max(used[region], offset + size)
            for member in members:
                offsets[member], regions[member] = offset, region
        return Packing(
            regions=tuple(regions),
            offsets=tuple(offsets),
            used_bytes=tuple(used),
            merged=choice,
        )

    def blocks_at_top(self, packing: Packing) -> list[int]:
        """Blocks that set the size of the last region in use."""
        region = max((r for r, used in enumerate(packing.used_bytes) if used), default=0)
        top = packing.used_bytes[region]
        return [
            block
            for block, (offset, size) in enumerate(zip(packing.offsets, self._sizes, strict=True))
            if packing.regions[block] == region and offset + size == top
        ]

    def _lowest_fit(
        self,
        members: Sequence[int],
        size: int,
        offsets: Sequence[int],
        regions: Sequence[int],
    ) -> tuple[int, int]:
        alignment = max(self._alignments[member] for member in members)
        for region, limit in enumerate(self._limits[:-1]):
            offset = self._lowest_offset(members, alignment, region, offsets, regions)
            if limit is None or offset + size <= limit:
                return region, offset
        last = len(self._limits) - 1
        return last, self._lowest_offset(members, alignment, last, offsets, regions)

    def _lowest_offset(
        self,
        members: Sequence[int],
        alignment: int,
        region: int,
        offsets: Sequence[int],
        regions: Sequence[int],
    ) -> int:
        """Smallest aligned offset at which no member meets a block placed before."""
        sizes = self._sizes
        # An offset strictly between the two numbers overlaps that neighbour.
        forbidden = [
            (offsets[other] - sizes[member], offsets[other] + sizes[other])
            for member in members
            if sizes[member]
            for other in self._neighbours[member]
            if offsets[other] >= 0 and regions[other] == region and sizes[other]
        ]
        forbidden.sort()
        offset = 0
        for low, high in forbidden:
            if offset <= low:
                break
            if high > offset:
                offset = -(-high // alignment) * alignment
        return offset


def _neighbours(blocks: Sequence[Block]) -> list[list[int]]:
    """For each block, the others that are alive at the same position."""
    neighbours: list[list[int]] = [[] for _ in blocks]
    active: list[int] = []
    for index in sorted(range(len(blocks)), key=lambda i: blocks[i].first):
        first = blocks[index].first
        active = [other for other in active if blocks[other].last >= first]
        for other in active:
            neighbours[index].append(other)
            neighbours[other].append(index)
        active.append(index)
    return neighbours


def _chains(choice: dict[int, int]) -> dict[int, tuple[int, ...]]:
    """For each merged block, all blocks that share its offset."""
    heads = [source for source in choice.values() if source not in choice]
    next_of = {source: output for output, source in choice.items()}
    chains = {}
    for head in heads:
        chain = [head]
        while chain[-1] in next_of:
            chain.append(next_of[chain[-1]])
        chains.update(dict.fromkeys(chain, tuple(chain)))
    return chains
