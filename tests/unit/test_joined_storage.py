"""Programs whose concatenations are made in place, and those whose copies must stay."""

from __future__ import annotations

import pytest

from compiler import joined_storage
from compiler.joined_storage import joins_fit, without_join_copies
from compiler.memory_plan import lower_bound_bytes, plan_memory
from compiler.program import Copy, KernelMemory, Program, ValueKind
from tests.program_builder import Builder

BUFFER, INPUT, OUTPUT = ValueKind.BUFFER, ValueKind.INPUT, ValueKind.OUTPUT
PLAIN = KernelMemory()
IN_PLACE = KernelMemory(in_place=((0, 0),))


def _two_branches(builder: Builder, result: ValueKind = BUFFER) -> tuple[int, int, int]:
    """Two kernels read the input, a third call joins what they make: float32[100] and [200]."""
    x = builder.value(INPUT, 10)
    left, right = builder.value(BUFFER, 100), builder.value(BUFFER, 200)
    joined = builder.value(result, 300)
    builder.call([x], [left], PLAIN)
    builder.call([x], [right], PLAIN)
    builder.call([left, right], [joined], PLAIN, joins=True)
    return left, right, joined


def _end(builder: Builder, number: int) -> None:
    builder.call([number], [builder.value(OUTPUT, 10)], PLAIN)


def _placed(builder: Builder) -> Program:
    return without_join_copies(builder.program(), builder.memory, may_grow=False)


def test_kernels_write_their_parts() -> None:
    builder = Builder()
    left, right, joined = _two_branches(builder)
    _end(builder, joined)
    program = _placed(builder)
    assert [call.kernel for call in program.calls] == ["kernel0", "kernel1", "kernel3"]
    places = [(program.values[v].storage, program.values[v].offset_bytes) for v in (left, right)]
    assert places == [(joined, 0), (joined, 400)]
    plan = plan_memory(program, builder.memory)
    assert set(plan.buffers) == {joined}
    assert plan.arena_bytes == 1200


def test_views_of_an_operand_move_with_it() -> None:
    builder = Builder()
    _, right, joined = _two_branches(builder)
    part = builder.value(BUFFER, 50, storage=right, offset_bytes=40)
    _end(builder, part)
    _end(builder, joined)
    view = _placed(builder).values[part]
    assert (view.storage, view.offset_bytes, view.size_bytes) == (joined, 440, 200)


def test_operands_of_a_model_output_are_written_to_the_caller() -> None:
    builder = Builder()
    left, right, joined = _two_branches(builder, OUTPUT)
    program = _placed(builder)
    assert len(program.calls) == 2
    assert {program.values[v].kind for v in (left, right)} == {OUTPUT}
    assert {program.values[v].storage for v in (left, right)} == {joined}
    assert plan_memory(program, builder.memory).arena_bytes == 0


def test_a_copied_operand_lives_to_the_end() -> None:
    builder = Builder()
    left, _, joined = _two_branches(builder)
    _end(builder, joined)
    builder.copies.append(Copy(source=left, destination=builder.value(OUTPUT, 100)))
    program = _placed(builder)
    assert program.values[program.copies[0].source].storage == joined


def test_inputs_and_outputs_of_the_model_are_copied() -> None:
    for kind in (INPUT, OUTPUT):
        builder = Builder()
        x = builder.value(INPUT, 10)
        stays, made = builder.value(kind, 10), builder.value(BUFFER, 10)
        if kind is OUTPUT:
            builder.call([x], [stays], PLAIN)
        builder.call([x], [made], PLAIN)
        joined = builder.value(BUFFER, 20)
        builder.call([stays, made], [joined], PLAIN, joins=True)
        _end(builder, joined)
        assert _placed(builder) == builder.program()


def test_a_part_of_a_value_is_copied() -> None:
    builder = Builder()
    x = builder.value(INPUT, 10)
    whole, made, joined = (builder.value(BUFFER, count) for count in (20, 10, 20))
    part = builder.value(BUFFER, 10, storage=whole, offset_bytes=40)
    builder.call([x], [whole], PLAIN)
    builder.call([x], [made], PLAIN)
    builder.call([made, part], [joined], PLAIN, joins=True)
    _end(builder, joined)
    assert _placed(builder) == builder.program()


def test_an_unmarked_kernel_stays() -> None:
    builder = Builder()
    x = builder.value(INPUT, 10)
    left, right, made = (builder.value(BUFFER, count) for count in (10, 10, 20))
    builder.call([x], [left], PLAIN)
    builder.call([x], [right], PLAIN)
    builder.call([left, right], [made], PLAIN)
    _end(builder, made)
    assert _placed(builder) == builder.program()


def test_copies_stay_where_a_longer_life_needs_more_memory() -> None:
    """The whole result would be alive beside what the largest kernel reads and writes."""
    builder = Builder()
    x = builder.value(INPUT, 10)
    early, late, joined = (builder.value(BUFFER, count) for count in (10, 500, 510))
    big, other = builder.value(BUFFER, 1000), builder.value(BUFFER, 1000)
    small = builder.value(BUFFER, 10)
    builder.call([x], [early], PLAIN)
    builder.call([x], [big], PLAIN)
    builder.call([big], [other], PLAIN)
    builder.call([other], [small], PLAIN)
    builder.call([small], [late], PLAIN)
    builder.call([early, late], [joined], PLAIN, joins=True)
    _end(builder, joined)
    assert lower_bound_bytes(builder.program(), builder.memory) == 4 * 2010
    assert _placed(builder) == builder.program()


def _grown_by_one_join(early_count: int, late_count: int, big: int) -> Builder:
    """`early` and `late` are joined; in place `late_count` more are alive beside `big`."""
    builder = Builder()
    x = builder.value(INPUT, 10)
    counts = (early_count, late_count, early_count + late_count)
    early, late, joined = (builder.value(BUFFER, count) for count in counts)
    wide, small = builder.value(BUFFER, big), builder.value(BUFFER, 10)
    builder.call([x], [early], PLAIN)
    builder.call([x], [wide], PLAIN)
    builder.call([wide], [small], PLAIN)
    builder.call([small], [late], PLAIN)
    builder.call([early, late], [joined], PLAIN, joins=True)
    _end(builder, joined)
    assert lower_bound_bytes(builder.program(), builder.memory) == 4 * (early_count + big + 10)
    return builder


def test_more_memory_is_allowed_for_much_larger_copies() -> None:
    """A byte more for 8 bytes that are not copied; for 7 copies stay."""
    for early_count, calls in ((70, 5), (69, 6)):
        builder = _grown_by_one_join(early_count, late_count=10, big=300)
        grown = without_join_copies(builder.program(), builder.memory, may_grow=True)
        assert len(grown.calls) == calls
        assert len(_placed(builder).calls) == 6
        fit = joins_fit(builder.program(), builder.memory, may_grow=True)
        assert fit == (calls == 5)


def test_memory_never_grows_by_more_than_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_storage, "LEAST_COPIED", 0.1)  # all growth is worth it
    for big, calls in ((490, 5), (290, 6)):
        builder = _grown_by_one_join(10, late_count=90, big=big)
        grown = without_join_copies(builder.program(), builder.memory, may_grow=True)
        assert len(grown.calls) == calls


def test_a_join_that_is_worth_it_does_not_pay_for_another() -> None:
    """300 numbers fewer are copied for nothing; 10 more in memory for a copy of 20 are refused."""
    builder = _grown_by_one_join(10, late_count=10, big=2000)
    *_, joined = _two_branches(builder)
    _end(builder, joined)
    program = without_join_copies(builder.program(), builder.memory, may_grow=True)
    assert [call.kernel for call in program.calls if call.joins] == ["kernel4"]
    assert not joins_fit(builder.program(), builder.memory, may_grow=True)


def test_one_concatenation_is_placed_where_another_may_not_be() -> None:
    builder = Builder()
    x = builder.value(INPUT, 10)
    early, late, joined = (builder.value(BUFFER, count) for count in (10, 500, 510))
    big, other, both = (builder.value(BUFFER, count) for count in (500, 500, 1000))
    builder.call([x], [early], PLAIN)
    builder.call([x], [big], PLAIN)
    builder.call([x], [other], PLAIN)
    builder.call([big, other], [both], PLAIN, joins=True)
    builder.call([both], [builder.value(OUTPUT, 2000)], PLAIN)
    wide = builder.value(BUFFER, 1900)
    builder.call([x], [wide], PLAIN)
    builder.call([wide], [builder.value(OUTPUT, 1)], PLAIN)
    builder.call([x], [late], PLAIN)
    builder.call([early, late], [joined], PLAIN, joins=True)
    builder.call([joined], [builder.value(OUTPUT, 10)], PLAIN)
    program = _placed(builder)
    limit = lower_bound_bytes(builder.program(), builder.memory)
    assert lower_bound_bytes(program, builder.memory) <= limit == 4 * 2010
    assert [call.kernel for call in program.calls if call.joins] == ["kernel8"]


def test_nothing_is_overwritten_while_its_neighbours_are_read() -> None:
    """An element-wise kernel on an operand must not write over it: the whole is read later."""
    builder = Builder()
    left, _, joined = _two_branches(builder)
    changed = builder.value(BUFFER, 100)
    builder.call([left], [changed], IN_PLACE)
    _end(builder, joined)
    _end(builder, changed)
    assert plan_memory(_placed(builder), builder.memory).in_place == ()


def test_a_part_is_not_overwritten_from_the_start_of_its_storage() -> None:
    builder = Builder()
    x = builder.value(INPUT, 10)
    whole = builder.value(BUFFER, 100)
    builder.call([x], [whole], PLAIN)
    for offset, pairs in ((40, ()), (0, ((1, whole),))):
        trial = Builder()
        trial.values, trial.calls, trial.memory = (
            list(builder.values),
            list(builder.calls),
            dict(builder.memory),
        )
        part = trial.value(BUFFER, 50, storage=whole, offset_bytes=offset)
        made = trial.value(BUFFER, 50)
        trial.call([part], [made], IN_PLACE)
        _end(trial, made)
        assert plan_memory(trial.program(), trial.memory).in_place == pairs
