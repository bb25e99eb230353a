"""Plans with places for inputs and outputs among the buffers (`Program.io_memory`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.memory_plan import MemoryPlan, Region, plan_memory
from compiler.program import Copy, KernelMemory, ValueKind
from tests.memory_plans import check_plan, programs
from tests.program_builder import Builder


@settings(max_examples=40, deadline=None)
@given(builder=programs((4, 300, 40)), fast_bytes=st.sampled_from([0, 1500, None]))
def test_inputs_and_outputs_lie_among_the_buffers(builder: Builder, fast_bytes: int | None) -> None:
    program = replace(builder.program(), io_memory="arena")
    fast = Region(name="fast", size_bytes=fast_bytes, alignment=16)
    slow = Region(name="slow", size_bytes=None, alignment=32)
    plan = plan_memory(program, builder.memory, (fast, slow))
    assert set(plan.inputs) == {program.values[port.value].storage for port in program.inputs}
    assert set(plan.outputs) == {program.values[port.value].storage for port in program.outputs}
    check_plan(builder, plan)
    apart = plan_memory(builder.program(), builder.memory)
    assert (apart.inputs, apart.outputs) == ({}, {})
    assert set(apart.buffers) == set(plan.buffers)


def test_a_chain_in_place_needs_no_more_than_its_input() -> None:
    """From the input's first byte to the output's last one."""
    builder = Builder()
    previous = builder.value(ValueKind.INPUT, 100)
    for kind, count in ((ValueKind.BUFFER, 100), (ValueKind.BUFFER, 50), (ValueKind.OUTPUT, 25)):
        made = builder.value(kind, count)
        builder.call([previous], [made], KernelMemory(in_place=((0, 0),)))
        previous = made
    plan = plan_memory(replace(builder.program(), io_memory="arena"), builder.memory)
    assert plan.arena_bytes == plan.lower_bound_bytes == 400
    assert plan.in_place == ((0, 0), (1, 1), (2, 2))
    assert {place.offset for place in plan.storages.values()} == {0}


def test_an_input_that_is_read_again_is_not_written_over() -> None:
    builder = Builder()
    source, first = builder.value(ValueKind.INPUT, 100), builder.value(ValueKind.BUFFER, 100)
    builder.call([source], [first], KernelMemory(in_place=((0, 0),)))
    last = builder.value(ValueKind.OUTPUT, 100)
    builder.call([first, source], [last], KernelMemory(in_place=((1, 0),)))
    plan = plan_memory(replace(builder.program(), io_memory="arena"), builder.memory)
    assert plan.in_place == ((1, source),)
    assert plan.arena_bytes == 800


def _copied(*offsets: int) -> MemoryPlan:
    """Outputs of 100 numbers that are parts of an input of 200, from these bytes on."""
    builder = Builder()
    source = builder.value(ValueKind.INPUT, 200)
    for offset in offsets:
        part = builder.value(ValueKind.INPUT, 100, storage=source, offset_bytes=offset)
        builder.copies.append(Copy(source=part, destination=builder.value(ValueKind.OUTPUT, 100)))
    program = builder.program()
    program = replace(program, inputs=program.inputs[:1], io_memory="arena")
    return plan_memory(program, builder.memory)


@pytest.mark.parametrize(
    ("offsets", "arena_bytes", "in_place"),
    [
        ((0,), 800, ((0, 0),)),
        ((400,), 1200, ()),  # it would begin in the middle
        ((0, 400), 1600, ()),  # one lies there: then the other could not be copied after it
        ((0, 0), 1600, ()),  # no two outputs are in one place
    ],
)
def test_an_output_lies_where_it_would_be_copied_from(
    offsets: tuple[int, ...], arena_bytes: int, in_place: tuple[tuple[int, int], ...]
) -> None:
    plan = _copied(*offsets)
    assert (plan.arena_bytes, plan.in_place) == (arena_bytes, in_place)
