"""Where the operands of concatenations can be made, so that nothing need be copied to join them.

Whoever makes an operand writes it into its place in the result. Only orders and sizes count here:
an item is anything that can be a key, a variable of a graph or a storage of a program.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Join(Generic[T]):
    """``result`` is nothing but its operands, one after another."""

    result: T
    operands: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Place(Generic[T]):
    """An item begins `offset` after the beginning of `owner`."""

    owner: T
    offset: int


@dataclass(frozen=True, slots=True)
class JoinPlaces(Generic[T]):
    """Which items lie inside others, and for which joins nothing is left to do."""

    places: Mapping[T, Place[T]]  # of the items that move
    done: tuple[int, ...]  # positions among the joins


def join_places(
    joins: Sequence[Join[T]], sizes: Mapping[T, int], free: Collection[T]
) -> JoinPlaces[T]:
    """Return places such that all operands of as many joins as possible lie in their result.

    The last join is placed first: the results of earlier ones that begin like it (DenseNet) are
    then parts of it. An item has one place; a join whose operands have others is left alone.

    Args:
        joins: in the order of execution.
        sizes: of every item of a join.
        free: items that may be made anywhere. Others may be results, but stay where they are.
    """
    places: dict[T, Place[T]] = {}
    done = []
    for position in reversed(range(len(joins))):
        join = joins[position]
        start = places.get(join.result)
        together = _place_together(join, sizes, places)
        if start is None and together is not None and join.result in free:
            places[join.result] = together
        else:
            wanted = _wanted(join, sizes, start or Place(join.result, 0))
            if wanted is None or not all(_can_be(i, p, places, free) for i, p in wanted.items()):
                continue
            places.update(wanted)
        done.append(position)
    return JoinPlaces(places, tuple(sorted(done)))


def _place_together(
    join: Join[T], sizes: Mapping[T, int], places: Mapping[T, Place[T]]
) -> Place[T] | None:
    """Where the operands already lie one after another, None if they do not."""
    first = places.get(join.operands[0])
    if first is None:
        return None
    offset = first.offset
    for operand in join.operands:
        if places.get(operand) != Place(first.owner, offset):
            return None
        offset += sizes[operand]
    return first


def _wanted(join: Join[T], sizes: Mapping[T, int], start: Place[T]) -> dict[T, Place[T]] | None:
    """A place for each operand, None if one of them is joined twice."""
    wanted = {}
    offset = start.offset
    for operand in join.operands:
        wanted[operand] = Place(start.owner, offset)
        offset += sizes[operand]
    return wanted if len(wanted) == len(join.operands) else None


def _can_be(item: T, place: Place[T], places: Mapping[T, Place[T]], free: Collection[T]) -> bool:
    return places[item] == place if item in places else item in free
