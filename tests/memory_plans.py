"""Programs drawn to be planned, and what every plan of one must be."""

from __future__ import annotations

from itertools import combinations

from hypothesis import strategies as st

from compiler.memory_plan import MemoryPlan, Placement
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
def programs(draw: st.DrawFn, input_counts: tuple[int, ...] = (4,)) -> Builder:
    """Up to nine calls in place and with scratch, views, and a copy; inputs have these lengths."""
    builder = Builder()
    known = [builder.value(ValueKind.INPUT, count) for count in input_counts]
    known.append(builder.value(ValueKind.CONSTANT, 4))
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
