"""Spaces of the tuner: points, schedules at them, neighbours, MetaSchedule's generic ones."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
import tvm_ffi

from compiler.program import ScheduleOutcome
from compiler.scheduling import replayed, schedule_kernel, trace_json
from compiler.target_spec import load_target
from compiler.tuner.features import feature_names, features, operators
from compiler.tuner.space import Point, Space
from compiler.tuner.tasks import TaskList, TuningError, default_schedule
from compiler.tuner.trial import TuningTask
from compiler.tuning.record import trace_id
from schedules.draws import COMPUTE_LOCATION
from tests.onnx_models import attention_model, conv_net_model, dense_model, make_model
from tests.tuner_fakes import drawn, found_tasks


def only_task(model: onnx.ModelProto, kernel: str) -> tuple[TaskList, TuningTask, Space]:
    found = found_tasks(model)
    task = next(task for task in found.tasks if task.kernel.startswith(kernel))
    return found, task, Space(task, default_schedule(task, found))


def test_tasks_are_the_kernels_of_the_build() -> None:
    found = found_tasks()
    macs = [task.macs * task.calls for task in found.tasks]
    assert macs == sorted(macs, reverse=True)
    conv = found.tasks[0]
    assert conv.kernel == "conv2d_add_relu_float32_1x1x8x8x8"
    assert [constant is None for constant in conv.constants] == [True, False, False]
    weights = conv.constants[1]
    assert weights is not None
    assert weights.dtype == np.float32
    facts = found.facts[conv.workload]
    assert facts.output_shape == (1, 1, 8, 8, 8)
    assert facts.written_bytes == 8 * 8 * 8 * 4
    expected = schedule_kernel(conv.kernel, conv.func, conv.input_count, found.spec)
    default = default_schedule(conv, found)
    assert (default.rule, default.is_fallback) == (expected.outcome.name, False)
    assert tvm_ffi.structural_equal(default.schedule.mod["main"], expected.func)


def test_a_part_of_a_constant_is_the_constant_of_a_call() -> None:
    """Two products with the same weights, as tasks see them: whole and of the right type."""
    found = found_tasks(dense_model(m=4, n=40, k=9))
    task = found.tasks[0]
    weights = next(one for one in task.constants if one is not None)
    assert weights.size >= 9 * 40
    assert np.isfinite(weights).all()


def test_kernels_by_pattern() -> None:
    names = [task.kernel for task in found_tasks(kernels="*conv2d*").tasks]
    assert len(names) == 3
    assert all("conv2d" in name for name in names)
    with pytest.raises(TuningError, match=r"no kernel of .* is called `nothing\*`") as failure:
        found_tasks(kernels="nothing*")
    assert "softmax_float32_1x10" in failure.value.why


def test_rules_that_could_not_be_built_are_passed_over() -> None:
    found = found_tasks()
    conv = found.tasks[0]
    default = default_schedule(conv, found, {"conv2d": "made up"})
    assert default.rule != "conv2d"


def test_the_default_comes_first_and_every_point_is_a_schedule() -> None:
    found, task, space = only_task(conv_net_model(), "conv2d_add_relu")
    assert space.size == 8 * 4  # columns in a tile, rows of a work item
    default = space.realized(space.default)
    assert default is not None
    assert default.trace == trace_json(default_schedule(task, found).schedule)
    assert default.rule == "conv2d"
    seen = {}
    for point in space.points():
        realized = space.realized(point)
        assert realized is not None
        assert realized.point == point
        assert space.point_of(realized.trace) == point
        replayed(task.func, realized.trace)
        seen[trace_id(realized.trace)] = drawn(realized.trace)
    assert {values[0] for values in seen.values()} == {float(value) for value in range(1, 9)}
    assert len(seen) == space.size
    assert found.tasks[0].workload == task.workload


def test_a_trace_of_other_steps_has_no_point() -> None:
    _, _, conv = only_task(conv_net_model(), "conv2d_add_relu")
    _, _, dense = only_task(dense_model(m=12, n=40, k=9), "matmul")
    realized = dense.realized(dense.default)
    assert realized is not None
    assert conv.point_of(realized.trace) is None


def test_neighbours_differ_in_one_decision() -> None:
    _, _, space = only_task(attention_model(), "attention")
    rng = random.Random(1)
    for _ in range(30):
        point = space.random(rng)
        other = space.mutated(point, rng)
        pairs = zip(point.decisions, other.decisions, strict=True)
        assert sum(one != two for one, two in pairs) == 1
        child = space.crossed(point, other, rng)
        assert child in (point, other)
    assert space.mutated(space.default, random.Random(3)) == space.mutated(
        space.default, random.Random(3)
    )


def pooled_model() -> onnx.ModelProto:
    """One kernel with two blocks, padding and maximum."""
    node = onnx.helper.make_node(
        "MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    return make_model(
        [node],
        inputs={"x": ("float32", [1, 16, 32, 32])},
        outputs={"y": ("float32", [1, 16, 16, 16])},
    )


def test_kernels_of_the_fallback_get_the_generic_space() -> None:
    found, task, space = only_task(pooled_model(), "")
    assert default_schedule(task, found).is_fallback
    own = space.size  # rows of a tile
    assert space.widen(found) > 0
    assert space.size > own + 20
    kinds = {draw.kind for draw in space.draws(1)}
    assert COMPUTE_LOCATION in kinds
    rng = random.Random(2)
    made = {}
    for _ in range(12):
        realized = space.realized(space.random(rng))
        if realized is None:
            continue
        made[trace_id(realized.trace)] = realized
        assert space.point_of(realized.trace) == realized.point
        again = replayed(task.func, realized.trace)
        assert trace_json(again) == realized.trace
    assert len(made) >= 4
    assert "" in {one.rule for one in made.values()} <= {"", "tile"}


def test_a_generic_schedule_computes_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    from compiler.kernels.build import build_kernel
    from compiler.tvm_target import tvm_target
    from tests.lowered import loaded, workloads
    from tests.native_kernel import NativeKernel, draw_operands, result_types

    spec = load_target("host").with_cores(1)
    model = pooled_model()
    found = found_tasks(model, spec=spec)
    task = found.tasks[0]
    space = Space(task, default_schedule(task, found))
    assert space.widen(found)
    program = workloads(model, spec).program
    assert loaded(model).name
    rng, results = random.Random(4), []
    points = [space.default, *(space.random(rng) for _ in range(6))]
    for realized in filter(None, map(space.realized, points)):
        outcome = ScheduleOutcome(source="record", name="test")
        func = replayed(task.func, realized.trace).mod["main"]
        built = build_kernel(
            func,
            name=task.kernel,
            input_count=task.input_count,
            outcome=outcome,
            target=tvm_target(spec),
        )
        native = NativeKernel(built, tmp_path_factory.mktemp("kernel"))
        results.append(
            native(draw_operands(program, task.kernel), result_types(program, task.kernel))[0]
        )
    assert len(results) >= 3
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])  # a maximum rounds nothing


def test_features_tell_points_apart() -> None:
    found, task, space = only_task(conv_net_model(), "conv2d_add_relu")
    facts = found.facts[task.workload]
    rows = [features(space, point, task, facts) for point in space.points()]
    assert len({row.tobytes() for row in rows}) == space.size
    assert len({row.shape for row in rows}) == 1
    beyond = features(
        space, Point(0, (99, *space.default.decisions[1:])), task, facts
    )  # a repaired decision
    assert beyond.shape == rows[0].shape


def test_every_feature_has_a_name() -> None:
    found, task, space = only_task(conv_net_model(), "conv2d_add_relu")
    facts = found.facts[task.workload]
    row = dict(zip(feature_names(), features(space, space.default, task, facts), strict=True))
    assert len(row) == len(set(feature_names()))
    assert row["multiply-accumulates"] == pytest.approx(np.log2(task.macs + 1))
    assert row["output axis 1 from inside"] == 3  # log2 of 8 lanes
    assert row["draw 1, innermost beside the default's"] == 0


def test_operators_of_a_kernel() -> None:
    assert operators("conv2d_add_relu_float32_1x8x56x56x8") == "conv2d_add_relu"
    assert operators("integer_matmul_uint8_1x10_2") == "integer_matmul"
    assert operators("odd") == "odd"
