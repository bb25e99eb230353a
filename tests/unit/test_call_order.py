"""The order of calls: never worse than given, the best of all where the network is small."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

import compiler.call_order as call_order_module
from compiler.call_order import order_calls
from compiler.memory_plan import plan_memory
from compiler.program import Copy, KernelMemory, Program, ValueKind
from tests.program_builder import Builder

NOTHING = KernelMemory()


def _valid(program: Program, order: tuple[int, ...]) -> bool:
    made = {v.storage for v in program.values if v.kind is ValueKind.INPUT}
    for index in order:
        call = program.calls[index]
        if any(program.values[v].storage not in made for v in call.inputs):
            return False
        made |= {program.values[v].storage for v in call.outputs}
    return True


def _peak(program: Program, builder: Builder, order: tuple[int, ...]) -> int:
    problem = call_order_module._problem(program, builder.memory)
    return call_order_module._peak(problem, order)


@st.composite
def networks(draw: st.DrawFn) -> Builder:
    """Up to six calls that read up to two earlier values, some of them in place, with scratch."""
    builder = Builder()
    known = [builder.value(ValueKind.INPUT, 8)]
    for _ in range(draw(st.integers(1, 6))):
        count = draw(st.integers(1, 2))
        read = sorted({draw(st.sampled_from(known)) for _ in range(count)})
        made = builder.value(ValueKind.BUFFER, draw(st.integers(1, 50)))
        in_place = ((0, 0),) if draw(st.booleans()) else ()
        scratch = (draw(st.integers(1, 40)),) if draw(st.booleans()) else ()
        builder.call(read, [made], KernelMemory(scratch_bytes=scratch, in_place=in_place))
        known.append(made)
    end = builder.value(ValueKind.OUTPUT, 1)
    builder.call([known[-1]], [end], NOTHING)
    return builder


@settings(max_examples=60, deadline=None)
@given(networks())
def test_no_order_needs_less(builder: Builder) -> None:
    program = builder.program()
    ordered = order_calls(program, builder.memory)
    found = tuple(program.calls.index(call) for call in ordered.calls)
    assert _valid(program, found)
    every = permutations(range(len(program.calls)))
    best = min(_peak(program, builder, order) for order in every if _valid(program, order))
    assert _peak(program, builder, found) == best


@settings(max_examples=40, deadline=None)
@given(networks())
def test_no_order_needs_less_with_inputs_and_outputs(builder: Builder) -> None:
    program = replace(builder.program(), io_memory="arena")
    ordered = order_calls(program, builder.memory)
    problem = call_order_module._problem(program, builder.memory)
    found = tuple(program.calls.index(call) for call in ordered.calls)
    every = permutations(range(len(program.calls)))
    peaks = [call_order_module._peak(problem, order) for order in every if _valid(program, order)]
    assert call_order_module._peak(problem, found) == min(peaks)


def test_what_an_input_and_an_output_take_counts() -> None:
    """One call ends the large input, the other makes the large output: in that order."""
    builder = Builder()
    inputs = [builder.value(ValueKind.INPUT, count) for count in (10, 1000)]
    outputs = [builder.value(ValueKind.OUTPUT, count) for count in (1000, 10)]
    for given_value, made in zip(inputs, outputs, strict=True):
        builder.call([given_value], [made], NOTHING)
    program = replace(builder.program(), io_memory="arena")
    assert order_calls(builder.program(), builder.memory) == builder.program()
    ordered = order_calls(program, builder.memory)
    assert ordered.calls == program.calls[::-1]
    assert plan_memory(ordered, builder.memory).lower_bound_bytes == 4 * (10 + 1000 + 10)


def _wide_then_narrow() -> Builder:
    """Two branches, each wide first: written side by side, both are wide at once."""
    builder = Builder()
    source = builder.value(ValueKind.INPUT, 8)
    wide = [builder.value(ValueKind.BUFFER, 1000) for _ in range(2)]
    narrow = [builder.value(ValueKind.BUFFER, 10) for _ in range(2)]
    end = builder.value(ValueKind.OUTPUT, 8)
    for value in wide:
        builder.call([source], [value], NOTHING)
    for value, result in zip(wide, narrow, strict=True):
        builder.call([value], [result], NOTHING)
    builder.call(narrow, [end], NOTHING)
    return builder


def test_branches_run_one_after_the_other() -> None:
    builder = _wide_then_narrow()
    program = builder.program()
    before = plan_memory(program, builder.memory).arena_bytes
    after = plan_memory(order_calls(program, builder.memory), builder.memory).arena_bytes
    assert before >= 8000
    assert after == 4080


def test_an_order_that_is_best_already_stays() -> None:
    builder = _wide_then_narrow()
    ordered = order_calls(builder.program(), builder.memory)
    assert order_calls(ordered, builder.memory) is ordered


def test_large_networks_are_ordered_step_by_step(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(call_order_module, "MOST_STATES", 1)
    builder = _wide_then_narrow()
    ordered = order_calls(builder.program(), builder.memory)
    assert plan_memory(ordered, builder.memory).arena_bytes == 4080


def test_a_value_copied_at_the_end_stays_alive() -> None:
    builder = Builder()
    source = builder.value(ValueKind.INPUT, 8)
    kept = builder.value(ValueKind.BUFFER, 100)
    other = builder.value(ValueKind.BUFFER, 100)
    out = builder.value(ValueKind.OUTPUT, 100)
    builder.call([source], [kept], NOTHING)
    builder.call([kept], [other], KernelMemory(in_place=((0, 0),)))
    builder.copies.append(Copy(source=kept, destination=out))
    program = builder.program()
    assert _peak(program, builder, (0, 1)) == 800
