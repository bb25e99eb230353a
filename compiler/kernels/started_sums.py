"""Sums that start with what is added to them behind: a bias costs a load instead of an addition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural, structural_equal

from schedules import match


def start_sums(func: PrimFunc) -> PrimFunc:
    """Return the function with vectors of a bias in place of the zeros that sums start with.

    before: sums[0:L] = 0; for ...: sums[0:L] = sums[0:L] + ...; to[i:i + L] = f(sums[0:L] + bias)
    after:  sums[0:L] = bias; for ...: sums[0:L] = sums[0:L] + ...; to[i:i + L] = f(sums[0:L])

    Of integers, whose sums do not depend on their order, in unrolled code: places in `sums` are
    numbers. A bias is read from buffers that nothing between writes.
    """

    buffers = _local_sums(func.body)

    def visit(sequence: Any, mutator: Any) -> Any:
        inner = mutator.default_mutate(sequence)
        if not isinstance(inner, tirx.SeqStmt):
            return inner
        statements = list(inner.seq)
        for sums in buffers:
            statements = [s for part in _rounds(statements, sums) for s in _started(part, sums)]
        return tirx.SeqStmt(statements)

    return func.with_body(structural.structural_mutate(func.body, [(tirx.SeqStmt, visit)]))


def _local_sums(body: Any) -> list[Any]:
    """Buffers of int32 in registers whose readers all stand in a sequence that starts them."""
    found: list[Any] = []
    structural.structural_walk(body, (tirx.AllocBuffer, found.append))
    sums = [a.buffer for a in found if _element(a.buffer) == "int32"]
    sequences: list[Any] = []
    structural.structural_walk(body, (tirx.SeqStmt, sequences.append))
    kept = []
    for buffer in sums:
        starting = [s for s in sequences if any(_zeroed(t, buffer) is not None for t in s.seq)]
        inside = sum(_count_loads(sequence, buffer) for sequence in starting)
        if starting and inside == _count_loads(body, buffer):
            kept.append(buffer)
    return kept


def _element(buffer: Any) -> str:
    return str(buffer.ty.dtype).split("x")[0]


def _count_loads(statement: Any, buffer: Any) -> int:
    return sum(load.source.same_as(buffer) for load in match.loads(statement))


def _rounds(statements: list[Any], sums: Any) -> list[list[Any]]:
    """The statements cut where the sums of one buffer are started anew."""
    parts: list[list[Any]] = [[]]
    was_read = False
    for statement in statements:
        if _zeroed(statement, sums) is not None and was_read:
            parts.append([])
            was_read = False
        writes = _writes(statement, sums)
        was_read |= not writes and _count_loads(statement, sums) > 0
        parts[-1].append(statement)
    return parts


@dataclass(slots=True)
class _Readers:
    """By its place in the sums, what is added to a vector of them wherever it is read."""

    added: dict[int, Any] = field(default_factory=dict)
    is_uniform: bool = True

    def note(self, place: int, rest: Any) -> None:
        """Add one reader."""
        known = self.added.setdefault(place, rest)
        self.is_uniform &= bool(structural_equal(known, rest))


def _started(statements: list[Any], sums: Any) -> list[Any]:
    """The statements of a round with its sums started, or as they are."""
    writing = [i for i, s in enumerate(statements) if _writes(s, sums)]
    starts = {place: i for i in writing if (place := _zeroed(statements[i], sums)) is not None}
    if not starts:
        return statements
    last = writing[-1]
    readers = _Readers()
    behind = [_without_bias(statement, sums, readers) for statement in statements[last + 1 :]]
    if not readers.is_uniform or not readers.added.keys() <= starts.keys():
        return statements
    between = statements[min(starts.values()) :]
    if any(_may_change(rest, between, sums) for rest in readers.added.values()):
        return statements
    made = [*statements[: last + 1], *behind]
    for place, rest in readers.added.items():
        store = statements[starts[place]]
        made[starts[place]] = tirx.BufferStore(sums, rest, store.indices)
    return made


def _writes(statement: Any, buffer: Any) -> bool:
    found: list[Any] = []
    structural.structural_walk(statement, (tirx.BufferStore, found.append))
    return any(store.buffer.same_as(buffer) for store in found)


def _zeroed(statement: Any, sums: Any) -> int | None:
    """The place of a vector of zeros that a statement stores."""
    if not isinstance(statement, tirx.BufferStore) or not statement.buffer.same_as(sums):
        return None
    zero = statement.value.value if isinstance(statement.value, tirx.Broadcast) else None
    is_zero = isinstance(zero, tirx.IntImm) and int(zero) == 0
    return _place(statement.indices[0]) if is_zero else None


def _place(index: Any) -> int | None:
    """Where a vector lies: the first of neighbouring places, or one of a buffer of vectors."""
    if isinstance(index, tirx.Ramp):
        index = index.base if int(index.stride) == 1 else None
    return int(index) if isinstance(index, tirx.IntImm) else None


def _without_bias(statement: Any, sums: Any, readers: _Readers) -> Any:
    """The statement with bare vectors of sums, what was added to each noted."""

    def visit_add(node: Any, mutator: Any) -> Any:
        for load, rest in ((node.a, node.b), (node.b, node.a)):
            place = _place_of(load, sums)
            if place is not None and not _count_loads(tirx.Evaluate(rest), sums):
                readers.note(place, rest)
                return load
        return mutator.default_mutate(node)

    def visit_load(load: Any, mutator: Any) -> Any:
        if load.source.same_as(sums):
            readers.is_uniform = False  # read without a bias
        return mutator.default_mutate(load)

    visits = [(tirx.Add, visit_add), (tvm.ir.TensorLoad, visit_load)]
    return structural.structural_mutate(statement, visits)


def _place_of(load: Any, sums: Any) -> int | None:
    if not isinstance(load, tvm.ir.TensorLoad) or not load.source.same_as(sums):
        return None
    return _place(load.indices[0])


def _may_change(rest: Any, statements: list[Any], sums: Any) -> bool:
    """Whether what is added may be written while it is summed: buffers share no memory with others
    of another type.
    """
    if any(_element(load.source) != "int32" for load in match.loads(tirx.Evaluate(rest))):
        return True
    stores: list[Any] = []
    for statement in statements:
        structural.structural_walk(statement, (tirx.BufferStore, stores.append))
    others = (store.buffer for store in stores if not store.buffer.same_as(sums))
    return any(_element(buffer) == "int32" for buffer in others)
