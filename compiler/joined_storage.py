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

# A dense block keeps all its channels from its first layer on: for DenseNet-121 that is 6 % more;
# the text detector PP-OCRv4, which joins what it has made at four sizes, needs 19 % more.
MOST_GROWTH_DIVISOR = 4


def joins_fit(program: Program, memory: Mapping[str, KernelMemory], *, may_grow: bool) -> bool:
    """Whether all concatenations that can be made in place may be: arguments as below."""
    everything = _placed(program, _joins(program))
    return lower_bound_bytes(everything, memory) <= _limit(program, memory, may_grow)


def without_join_copies(
    program: Program, memory: Mapping[str, KernelMemory], *, may_grow: bool
) -> Program:
    """Return the program without the calls that only copy operands into a concatenation.

    A concatenation that needs no copy lives from the first of its operands on, which may need more
    memory (`lower_bound_bytes`). Copies stay where it would be more than is allowed.

    Args:
        memory: what each kernel needs, by kernel name.
        may_grow: a quarter more memory is allowed, else none.
    """
    joins = _joins(program)
    if joins_fit(program, memory, may_grow=may_grow):
        return _placed(program, joins)
    limit = _limit(program, memory, may_grow)
    kept: set[int] = set()
    for group in _groups(program, joins):
        trial = _placed(program, _only(joins, kept | group))
        if lower_bound_bytes(trial, memory) <= limit:
            kept |= group
    return _placed(program, _only(joins, kept))


def _limit(program: Program, memory: Mapping[str, KernelMemory], may_grow: bool) -> int:
    limit = lower_bound_bytes(program, memory)
    return limit + limit // MOST_GROWTH_DIVISOR if may_grow else limit


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
