"""Concatenations without copies: their operands are made where the concatenation lies.

Every byte of a storage is still written by one kernel only, once: that an operand lies inside
another storage changes nothing for those who read it. Plain data, no TVM.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from compiler.join_places import Join, JoinPlaces, join_places
from compiler.memory_plan import lower_bound_bytes
from compiler.program import KernelMemory, Program, Value, ValueKind

# A dense block keeps all its channels from its first layer on: DenseNet-121 needs no more for that
# than with copies of five times its arena. The text detector PP-OCRv4 joins what it has made at
# four sizes: in place it needs 8 % more, for a copy of 4 times that, and was no faster.
MOST_GROWTH_DIVISOR = 4  # of the memory of the whole program
LEAST_COPIED = 8  # bytes of copies that must go for each byte that memory grows by


def joins_fit(program: Program, memory: Mapping[str, KernelMemory], *, may_grow: bool) -> bool:
    """Whether all concatenations that can be made in place may be: arguments as below."""
    joins = _joins(program)
    return _kept(program, joins, memory, may_grow) == {
        call for group in _groups(program, joins) for call in group
    }


def without_join_copies(
    program: Program, memory: Mapping[str, KernelMemory], *, may_grow: bool
) -> Program:
    """Return the program without the calls that only copy operands into a concatenation.

    A concatenation that needs no copy lives from the first of its operands on, which may need more
    memory (`lower_bound_bytes`). A copy stays where it would be more than is allowed.

    Args:
        memory: what each kernel needs, by kernel name.
        may_grow: more memory is allowed for copies of `LEAST_COPIED` times as many bytes, up to a
            quarter in all; else none is.
    """
    joins = _joins(program)
    return _placed(program, _only(joins, _kept(program, joins, memory, may_grow)))


def _kept(
    program: Program,
    joins: Mapping[int, Join[int]],
    memory: Mapping[str, KernelMemory],
    may_grow: bool,
) -> set[int]:
    """The calls whose concatenations are made in place: all, or group by group what is worth it."""
    groups = _groups(program, joins)
    needed = lower_bound_bytes(program, memory)
    if lower_bound_bytes(_placed(program, joins), memory) <= needed:
        return {call for group in groups for call in group}
    most = needed + needed // MOST_GROWTH_DIVISOR if may_grow else needed
    kept: set[int] = set()
    for group in groups:
        copied = sum(program.values[program.calls[call].outputs[0]].size_bytes for call in group)
        trial = _placed(program, _only(joins, kept | group))
        grown = lower_bound_bytes(trial, memory)
        worth = needed + copied // LEAST_COPIED if may_grow else most
        if grown <= min(worth, most):
            kept |= group
            needed = grown
    return kept


def _joins(program: Program) -> dict[int, Join[int]]:
    """The concatenations of whole storages, by position of the call."""
    joins = {}
    for position, call in enumerate(program.calls):
        if call.joins and all(_is_whole(program, value) for value in call.inputs):
            operands = tuple(program.values[value].storage for value in call.inputs)
            joins[position] = Join(program.values[call.outputs[0]].storage, operands)
    return joins


def _is_whole(program: Program, number: int) -> bool:
    value = program.values[number]
    return value.size_bytes == program.values[value.storage].size_bytes


def _only(joins: Mapping[int, Join[int]], calls: Collection[int]) -> dict[int, Join[int]]:
    return {call: join for call, join in joins.items() if call in calls}


def _places(program: Program, joins: Mapping[int, Join[int]]) -> JoinPlaces[int]:
    return join_places(
        tuple(joins.values()),
        {value.id: value.size_bytes for value in program.values},
        {value.id for value in program.values if value.kind is ValueKind.BUFFER},
    )


def _groups(program: Program, joins: Mapping[int, Join[int]]) -> list[set[int]]:
    """Calls whose results end in one storage: placed all together or not at all."""
    found = _places(program, joins)
    calls = list(joins)
    groups: dict[int, set[int]] = {}
    for position in found.done:
        result = joins[calls[position]].result
        owner = found.places[result].owner if result in found.places else result
        groups.setdefault(owner, set()).add(calls[position])
    return list(groups.values())


def _placed(program: Program, joins: Mapping[int, Join[int]]) -> Program:
    found = _places(program, joins)
    calls = list(joins)
    dropped = {calls[position] for position in found.done}

    def moved(value: Value) -> Value:
        place = found.places.get(value.storage)
        if place is None:
            return value
        return replace(
            value,
            kind=program.values[place.owner].kind,
            storage=place.owner,
            offset_bytes=place.offset + value.offset_bytes,
        )

    return replace(
        program,
        values=tuple(map(moved, program.values)),
        calls=tuple(call for i, call in enumerate(program.calls) if i not in dropped),
    )
