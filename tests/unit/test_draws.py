"""What rules leave open: draws of a schedule, and the same steps with other decisions."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm_ffi
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.kernels.build import build_kernel
from compiler.program import Program, ScheduleOutcome
from compiler.scheduling import schedule_kernel, trace_json, workload_hash
from compiler.target_spec import TargetSpec, load_target
from compiler.tuning.record import decisions
from compiler.tuning.store import Records
from compiler.tvm_target import tvm_target
from schedules.draws import Decision, draws, with_decisions
from schedules.rules import rules_for
from tests.lowered import fixed_spec, workloads
from tests.native_kernel import NativeKernel, draw_operands, result_types
from tests.onnx_models import attention_model, conv_net_model, dense_model
from tests.tuning_records import record


def scheduled(
    model: onnx.ModelProto, kernel: str, spec: TargetSpec
) -> tuple[Program, str, int, PrimFunc, Schedule]:
    """The kernel of a model whose name begins so, with the schedule of its rule."""
    found = workloads(model, spec)
    name = next(name for name in found.functions if name.startswith(kernel))
    func = found.functions[name]
    taken = (rule.apply(func, spec) for rule in rules_for(spec)[0])
    schedule = next(one for one in taken if one is not None)
    return found.program, name, found.input_counts[name], func, schedule


def test_draws_are_what_the_rule_left_open() -> None:
    _, _, _, _, schedule = scheduled(conv_net_model(), "conv2d_add_relu", fixed_spec())
    draw, *others = draws(schedule)
    assert draw.kind == "SampleCategorical"
    # Vectors of channels in a tile, rows and tiles of channels of a work item.
    assert {other.kind for other in others} == {"SamplePerfectTile"}
    assert draw.choices == tuple(range(8))
    assert draw.values == (1, 2, 3, 4, 5, 6, 7, 8)  # columns of a row of eight
    assert (draw.decision, draw.value) == (7, 8)
    assert schedule.trace.insts[draw.step].kind.name == draw.kind


def test_factors_of_a_perfect_tile() -> None:
    _, _, _, _, schedule = scheduled(attention_model(), "attention", fixed_spec())
    draw, *_ = [one for one in draws(schedule) if one.kind == "SamplePerfectTile"]
    extent = prod(draw.value)
    assert draw.decision == draw.value
    assert draw.decision in draw.choices
    assert len(set(draw.choices)) == len(draw.choices) > 1
    assert all(prod(choice) == extent for choice in draw.choices)  # type: ignore[arg-type]
    most = max(choice[-1] for choice in draw.choices)  # type: ignore[index]
    divisors = [factor for factor in range(1, most + 1) if extent % factor == 0]
    assert [choice[-1] for choice in draw.choices] == divisors  # type: ignore[index]


def test_another_decision_is_all_that_changes() -> None:
    _, _, _, func, schedule = scheduled(conv_net_model(), "conv2d_add_relu", fixed_spec())
    before, kernel = trace_json(schedule), tvm_ffi.structural_hash(func)
    draw, *_ = draws(schedule)
    same = with_decisions(func, schedule, {draw.step: draw.decision})
    assert tvm_ffi.structural_equal(same.mod, schedule.mod)
    changed = with_decisions(func, schedule, {draw.step: 2})
    steps, decided = trace_json(changed)
    assert steps == before[0]
    assert [one for one in decided if one not in before[1]] == [[draw.step, 2]]
    assert not tvm_ffi.structural_equal(changed.mod, schedule.mod)
    assert draws(changed)[0].value == 3
    assert trace_json(schedule) == before
    assert tvm_ffi.structural_hash(func) == kernel


@pytest.mark.parametrize(
    ("model", "kernel", "picks"),
    [
        (conv_net_model(), "conv2d_add_relu", (0, 2, 4)),  # 1, 3 and 5 of 8 columns: tails
        (dense_model(m=12, n=40, k=9), "matmul", (0, 4, -1)),
        (attention_model(), "attention", (0, -1)),
    ],
    ids=["conv2d", "matmul", "attention"],
)
def test_every_decision_computes_the_same(
    model: onnx.ModelProto, kernel: str, picks: tuple[int, ...], tmp_path: Path
) -> None:
    spec = load_target("host")
    program, name, count, func, schedule = scheduled(model, kernel, spec)

    def results(one: Schedule, folder: str) -> list[np.ndarray]:
        outcome = ScheduleOutcome(source="rule", name="test")
        main = one.mod["main"]
        target = tvm_target(spec)
        built = build_kernel(main, name=name, input_count=count, outcome=outcome, target=target)
        (tmp_path / folder).mkdir()
        native = NativeKernel(built, tmp_path / folder)
        return native(draw_operands(program, name), result_types(program, name))

    expected = results(schedule, "default")
    for number, draw in enumerate(draws(schedule)):
        for pick in picks:
            choice: Decision = draw.choices[pick % len(draw.choices)]
            changed = with_decisions(func, schedule, {draw.step: choice})
            made = results(changed, f"draw{number}pick{pick}")
            for ours, other in zip(made, expected, strict=True):
                # A tile decides what is computed side by side, not the order of a sum.
                np.testing.assert_allclose(ours, other, rtol=1e-6, atol=1e-6)


def test_a_record_keeps_the_decision() -> None:
    spec = fixed_spec()
    _, name, count, func, schedule = scheduled(conv_net_model(), "conv2d_add_relu", spec)
    draw, *_ = draws(schedule)
    changed = with_decisions(func, schedule, {draw.step: 3})
    kept = record(1.0, workload=workload_hash(func), kernel=name, trace=trace_json(changed))
    assert ("SampleCategorical", 3) in decisions(kept)
    records = Records(schedules={kept.workload: kept})
    replayed = schedule_kernel(name, func, count, spec, records)
    assert replayed.outcome.source == "record"
    assert tvm_ffi.structural_equal(replayed.func, changed.mod["main"])


def test_a_schedule_without_draws_has_none() -> None:
    _, _, _, func, schedule = scheduled(conv_net_model(), "softmax", fixed_spec())
    assert draws(schedule) == ()
    assert tvm_ffi.structural_equal(with_decisions(func, schedule, {}).mod, schedule.mod)


def test_a_draw_that_depends_on_another_is_repaired() -> None:
    """A long sum on a GPU: its parts are drawn, then how many of them a thread adds up."""
    from tests.onnx_models import make_model

    node = onnx.helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0, noop_with_empty_axes=0)
    model = make_model([node], inputs={"x": ("float32", [4096])}, outputs={"y": ("float32", [])})
    spec = load_target("cuda-sm80")
    _, _, _, func, schedule = scheduled(model, "", spec)
    parts, tile = draws(schedule)
    assert (parts.kind, tile.kind) == ("SampleCategorical", "SamplePerfectTile")
    half = parts.values.index(parts.value // 2)
    first, second = draws(with_decisions(func, schedule, {parts.step: half}))
    assert first.value == parts.value // 2
    assert prod(second.value) == first.value == prod(tile.value) // 2
