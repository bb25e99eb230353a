"""Memory plans: never two live blocks on the same bytes, tight, aligned, the same every time."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import LimitError
from compiler.memory_plan import (
    MemoryPlan,
    Placement,
    Region,
    block_alignment,
    lifetimes,
    plan_memory,
)
from compiler.program import Copy, KernelMemory, Program, ValueKind
from tests.program_builder import Builder


def chain(counts: list[int], memory: KernelMemory | None = None) -> Builder:
    """Input -> kernel -> buffer -> kernel -> ... -> output; ``counts`` are the buffers' lengths."""
    builder = Builder()
    previous = builder.value(ValueKind.INPUT, 1)
    for count in counts:
        buffer = builder.value(ValueKind.BUFFER, count)
        builder.call([previous], [buffer], memory or KernelMemory())
        previous = buffer
    builder.call([previous], [builder.value(ValueKind.OUTPUT, 1)], KernelMemory())
    return builder


@st.composite
def programs(draw: st.DrawFn) -> Builder:
    builder = Builder()
    known = [builder.value(ValueKind.INPUT, 4), builder.value(ValueKind.CONSTANT, 4)]
    for _ in range(draw(st.integers(1, 9))):
        inputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
        kinds = draw(
            st.lists(
                st.sampled_from([ValueKind.BUFFER, ValueKind.BUFFER, ValueKind.OUTPUT]),
                min_size=1,
                max_size=2,
            )
        )
        outputs = [builder.value(kind, draw(st.integers(0, 600))) for kind in kinds]
        pairs = [(i, o) for i in range(len(inputs)) for o in range(len(outputs))]
        memory = KernelMemory(
            scratch_bytes=tuple(draw(st.lists(st.integers(1, 900), max_size=2))),
            worker_scratch_bytes=draw(st.sampled_from([0, 0, 24, 700])),
            in_place=tuple(draw(st.lists(st.sampled_from(pairs), unique=True, max_size=4))),
        )
        builder.call(inputs, outputs, memory)
        known += outputs
        if draw(st.booleans()):
            viewed = builder.values[draw(st.sampled_from(outputs))]
            known.append(builder.value(viewed.kind, viewed.element_count, storage=viewed.storage))
    if draw(st.booleans()):
        source = draw(st.sampled_from(known))
        destination = builder.value(ValueKind.OUTPUT, builder.values[source].element_count)
        builder.copies.append(Copy(source=source, destination=destination))
    return builder


def live_bytes(program: Program, plan: MemoryPlan) -> list[tuple[int, int, str, Placement]]:
    """First position, last position, label and place of every block, worked out independently."""
    blocks = []
    end = len(program.calls)
    for storage, place in plan.storages.items():
        uses = [
            position
            for position, call in enumerate(program.calls)
            for value in (*call.inputs, *call.outputs)
            if program.values[value].storage == storage
        ]
        if any(program.values[copy.source].storage == storage for copy in program.copies):
            uses.append(end)
        if storage in plan.outputs:
            uses.append(end)  # read by the caller, whether a call or a copy made it
        first = 0 if storage in plan.inputs else min(uses)
        blocks.append((first, max(uses, default=0), f"v{storage}", place))
    for call, places in plan.scratch.items():
        blocks += [(call, call, f"scratch{call}.{n}", place) for n, place in enumerate(places)]
    for call, place in plan.worker_scratch.items():
        blocks.append((call, call, f"worker{call}", place))
    return blocks


def overlap(a: Placement, b: Placement) -> bool:
    if a.region != b.region or not a.size_bytes or not b.size_bytes:
        return False
    return a.offset < b.offset + b.size_bytes and b.offset < a.offset + a.size_bytes


def check_plan(builder: Builder, plan: MemoryPlan) -> None:
    program = builder.program()
    owners = {
        program.values[v].storage
        for call in program.calls
        for v in call.outputs
        if program.values[v].kind is ValueKind.BUFFER
    }
    assert set(plan.buffers) == owners
    in_place = set(plan.in_place)
    given_first = {f"v{storage}" for storage in plan.inputs}
    for a, b in combinations(live_bytes(program, plan), 2):
        first, second = sorted(
            (a, b), key=lambda block: (block[0], block[2] not in given_first, -block[1])
        )
        if second[0] > first[1] or not overlap(first[3], second[3]):
            continue
        # Only legal if the second one is born where the first one dies, over its first bytes.
        assert first[1] == second[0]
        assert (second[0], int(first[2].removeprefix("v"))) in in_place
        assert second[3].offset == first[3].offset
    for position, storage in plan.in_place:
        check_in_place(builder, position, storage)
    used = {region.name: region.size_bytes for region in plan.regions}
    for *_, place in live_bytes(program, plan):
        assert place.offset + place.size_bytes <= used[place.region]
    assert plan.arena_bytes == sum(used.values())
    assert plan.arena_bytes >= plan.lower_bound_bytes


def check_in_place(builder: Builder, position: int, storage: int) -> None:
    program = builder.program()
    if position == len(program.calls):  # an output where it would be copied from
        copied = [program.values[copy.source] for copy in program.copies]
        (source,) = [value for value in copied if value.storage == storage]
        assert source.offset_bytes == 0
        assert source.kind is not ValueKind.OUTPUT
        return
    call = program.calls[position]
    operands = [program.values[v].storage for v in (*call.inputs, *call.outputs)]
    assert operands.count(storage) == 1
    input_position = operands.index(storage)
    assert any(pair[0] == input_position for pair in builder.memory[call.kernel].in_place)
    later = [v for after in program.calls[position + 1 :] for v in (*after.inputs, *after.outputs)]
    later += [copy.source for copy in program.copies]
    assert storage not in {program.values[v].storage for v in later}


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


@settings(max_examples=150, deadline=None)
@given(builder=programs(), fast_bytes=st.sampled_from([0, 1500, None]))
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
