"""Memory plans: never two live blocks on the same bytes, tight, aligned, the same every time."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import LimitError
from compiler.memory_plan import (
    Region,
    block_alignment,
    lifetimes,
    plan_memory,
)
from compiler.program import KernelMemory, Program, ValueKind
from tests.memory_plans import chain, check_plan, live_bytes, programs
from tests.program_builder import Builder


@settings(max_examples=150, deadline=None)
@given(builder=programs())
def test_no_two_live_blocks_share_bytes(builder: Builder) -> None:
    check_plan(builder, plan_memory(builder.program(), builder.memory))


@settings(max_examples=60, deadline=None)
@given(builder=programs())
def test_inputs_lie_beside_what_is_alive_with_them(builder: Builder) -> None:
    program = builder.program()
    plan = plan_memory(program, builder.memory, with_inputs=True)
    read = {program.values[value].storage for call in program.calls for value in call.inputs}
    read |= {program.values[copy.source].storage for copy in program.copies}
    given = {program.values[port.value].storage for port in program.inputs}
    assert set(plan.inputs) == read & given
    check_plan(builder, plan)


def test_an_input_shares_its_bytes_with_later_buffers() -> None:
    builder = chain([100, 100, 100])
    builder.values[0] = replace(builder.values[0], shape=(100,))
    assert plan_memory(builder.program(), builder.memory).arena_bytes == 800
    plan = plan_memory(builder.program(), builder.memory, with_inputs=True)
    assert plan.arena_bytes == 800
    (place,) = plan.inputs.values()
    assert place.size_bytes == 400


@settings(max_examples=60, deadline=None)
@given(builder=programs(), fast_bytes=st.integers(0, 4000))
def test_regions_are_filled_in_rank_order(builder: Builder, fast_bytes: int) -> None:
    fast = Region(name="fast", size_bytes=fast_bytes, alignment=16)
    slow = Region(name="slow", size_bytes=None, alignment=32)
    plan = plan_memory(builder.program(), builder.memory, (fast, slow))
    check_plan(builder, plan)
    assert plan.regions[0].size_bytes <= fast_bytes
    alone = plan_memory(
        builder.program(),
        builder.memory,
        (Region(name="fast", size_bytes=None, alignment=16),),
    )
    if alone.arena_bytes <= fast_bytes:
        assert [region.name for region in plan.regions] == ["fast"]


@settings(max_examples=40, deadline=None)
@given(builder=programs())
def test_the_same_program_gives_the_same_plan(builder: Builder) -> None:
    program = builder.program()
    assert plan_memory(program, builder.memory) == plan_memory(program, builder.memory)


@settings(max_examples=60, deadline=None)
@given(builder=programs(), largest=st.sampled_from([4, 16, 64]))
def test_offsets_are_aligned(builder: Builder, largest: int) -> None:
    program = builder.program()
    plan = plan_memory(program, builder.memory, buffer_alignment=largest)
    for _, _, label, place in live_bytes(program, plan):
        element = 4 if label.startswith("v") else 8
        assert place.offset % block_alignment(place.size_bytes, element, largest) == 0


@pytest.mark.parametrize(
    ("size_bytes", "element_bytes", "largest", "alignment"),
    [(1, 1, 64, 1), (12, 4, 64, 4), (512, 1, 64, 16), (2048, 4, 64, 64), (9999, 4, 16, 16)],
)
def test_alignment_grows_with_the_block(
    size_bytes: int, element_bytes: int, largest: int, alignment: int
) -> None:
    assert block_alignment(size_bytes, element_bytes, largest) == alignment


@settings(max_examples=40, deadline=None)
@given(builder=programs())
def test_lower_bound_is_the_largest_live_sum(builder: Builder) -> None:
    """Without in-place reuse the bound is a plain sum, so it can be worked out another way."""
    program = builder.program()
    memory = {name: KernelMemory() for name in builder.memory}
    plan = plan_memory(program, memory)
    alive = lifetimes(program)
    sums = [
        sum(
            program.values[storage].size_bytes
            for storage, life in alive.items()
            if life.first <= position <= life.last
        )
        for position in range(len(program.calls))
    ]
    assert plan.lower_bound_bytes == max(sums)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    reads=st.lists(st.integers(0, 6), min_size=5, max_size=5),
)
def test_tiny_programs_are_packed_as_well_as_by_brute_force(
    counts: list[int], reads: list[int]
) -> None:
    builder = Builder()
    buffers = [builder.value(ValueKind.INPUT, 1)]
    for count, read in zip(counts, reads, strict=False):
        buffers.append(builder.value(ValueKind.BUFFER, count))
        builder.call([buffers[read % (len(buffers) - 1)]], [buffers[-1]], KernelMemory())
    program = builder.program()
    plan = plan_memory(program, builder.memory, buffer_alignment=4)
    assert plan.arena_bytes == brute_force_bytes(program)


def brute_force_bytes(program: Program) -> int:
    """Smallest arena over lowest-fit placement in every order: one of them is optimal."""
    alive = lifetimes(program)
    best = sum(program.values[storage].size_bytes for storage in alive)
    for order in permutations(alive):
        placed: dict[int, tuple[int, int]] = {}
        for storage in order:
            life, size = alive[storage], program.values[storage].size_bytes
            taken = sorted(
                placed[other]
                for other in placed
                if alive[other].first <= life.last and life.first <= alive[other].last
            )
            offset = 0
            for low, high in taken:
                if offset + size <= low:
                    break
                offset = max(offset, high)
            placed[storage] = (offset, offset + size)
        best = min(best, max(high for _, high in placed.values()))
    return best


def test_an_elementwise_chain_runs_in_one_buffer() -> None:
    builder = chain([1000] * 6, KernelMemory(in_place=((0, 0),)))
    plan = plan_memory(builder.program(), builder.memory)
    assert plan.arena_bytes == plan.lower_bound_bytes == 4000
    assert plan.in_place == tuple((position, position) for position in range(1, 6))


def test_a_chain_without_reuse_needs_two_buffers() -> None:
    builder = chain([1024] * 6)
    plan = plan_memory(builder.program(), builder.memory)
    assert plan.arena_bytes == plan.lower_bound_bytes == 8192
    assert plan.in_place == ()


def test_an_input_read_later_through_a_reshape_is_not_overwritten() -> None:
    builder = Builder()
    source = builder.value(ValueKind.BUFFER, 100)
    builder.call([builder.value(ValueKind.INPUT, 1)], [source], KernelMemory())
    view = builder.value(ValueKind.BUFFER, 100, storage=source)
    result = builder.value(ValueKind.BUFFER, 100)
    builder.call([source], [result], KernelMemory(in_place=((0, 0),)))
    builder.call([view, result], [builder.value(ValueKind.OUTPUT, 1)], KernelMemory())
    plan = plan_memory(builder.program(), builder.memory)
    assert plan.in_place == ()
    assert plan.arena_bytes == 800


def test_a_larger_output_is_not_written_over_a_smaller_input() -> None:
    builder = chain([10, 20], KernelMemory(in_place=((0, 0),)))
    plan = plan_memory(builder.program(), builder.memory)
    assert plan.in_place == ()
    assert plan.arena_bytes == 120


def test_scratch_counts_in_the_arena_but_not_in_the_bound() -> None:
    memory = KernelMemory(scratch_bytes=(64, 32), worker_scratch_bytes=128)
    builder = chain([16], memory)
    plan = plan_memory(builder.program(), builder.memory)
    assert plan.lower_bound_bytes == 64
    assert plan.arena_bytes == 64 + 64 + 32 + 128
    assert [place.size_bytes for place in plan.scratch[0]] == [64, 32]
    assert plan.worker_scratch[0].size_bytes == plan.worker_scratch_bytes == 128


def test_a_program_without_buffers_uses_an_empty_first_region() -> None:
    builder = chain([])
    plan = plan_memory(builder.program(), builder.memory)
    assert [(use.name, use.size_bytes) for use in plan.regions] == [("arena", 0)]
    assert plan.arena_bytes == plan.lower_bound_bytes == 0


def test_too_small_regions_are_refused_with_sizes_and_tensors() -> None:
    builder = chain([300, 500])
    sram = Region(name="sram", size_bytes=2000, alignment=16)
    with pytest.raises(LimitError) as caught:
        plan_memory(builder.program(), builder.memory, (sram,))
    assert caught.value.what == "the model's buffers do not fit into sram"
    assert caught.value.why == (
        "needed: sram 3,200 of 2,000 bytes; largest tensors: t2 2,000 bytes, t1 1,200 bytes"
    )


def test_five_hundred_calls_take_less_than_a_second() -> None:
    builder = Builder()
    known = [builder.value(ValueKind.INPUT, 10)]
    for number in range(500):
        buffer = builder.value(ValueKind.BUFFER, 50 + number * 37 % 400)
        reads = [known[-1], known[max(0, len(known) - 1 - number % 7)]]
        builder.call(reads, [buffer], KernelMemory(in_place=((0, 0),), scratch_bytes=(40,)))
        known.append(buffer)
    start = time.process_time()
    plan = plan_memory(builder.program(), builder.memory)
    assert time.process_time() - start < 2.0  # measured 0.35 s; the rest is for a slow machine
    assert plan.arena_bytes <= 1.1 * plan.lower_bound_bytes
