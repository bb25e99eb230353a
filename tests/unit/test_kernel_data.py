"""Operands of tasks and what their kernels must make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.onnx_import.load import load_model
from compiler.relax_program import extract_program
from compiler.scheduling import distinct_workloads
from compiler.target_spec import load_target
from compiler.tuner.build_pool import BuildPool, LoweringOptions
from compiler.tuner.kernel_data import KernelDataSource
from compiler.tuner.native_runner import NativeRunner, TrialError
from compiler.tuner.trial import TuningTask
from tests.lowered import fixed_spec, staged
from tests.onnx_models import conv_net_model, dense_model
from tests.tuning_tasks import default_candidate, tasks, tasks_of

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def source() -> Iterator[KernelDataSource]:
    with KernelDataSource() as opened:
        yield opened


def dense_task() -> TuningTask:
    (task,) = tasks(dense_model(4, 24, 16), fixed_spec()).values()
    return task


def test_constants_stay_and_activations_are_drawn(source: KernelDataSource) -> None:
    task = dense_task()
    data = source.data(task)
    for given, constant in zip(data.inputs, task.constants, strict=True):
        if constant is not None:
            np.testing.assert_array_equal(given, constant)
    (drawn,) = [
        given for given, known in zip(data.inputs, task.constants, strict=True) if known is None
    ]
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.5
    assert 0.5 < drawn.std() < 1.5
    assert (data.note, data.tolerance, data.macs) == ("", 1e-4, task.macs)


def test_equal_keys_have_equal_arrays(source: KernelDataSource) -> None:
    task = dense_task()
    one, again = source.data(task), source.data(task)
    assert one.key == again.key
    for first, second in zip(
        (*one.inputs, *one.expected), (*again.inputs, *again.expected), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    constants = tuple(None if array is None else array + 1 for array in task.constants)
    other = source.data(replace(task, constants=constants))
    assert other.key != one.key
    assert not np.array_equal(other.expected[0], one.expected[0])


def test_expected_is_what_the_operator_says(source: KernelDataSource) -> None:
    """Of a kernel that any target could have: here one for a microcontroller."""
    (task,) = tasks(dense_model(4, 24, 16), load_target("cortex-m4f")).values()
    data = source.data(task)
    (x,) = [a for a, known in zip(data.inputs, task.constants, strict=True) if known is None]
    model = dense_model(4, 24, 16)
    from onnx.numpy_helper import to_array

    weights = {one.name: to_array(one) for one in model.graph.initializer}
    wanted = x
    for array in weights.values():
        wanted = wanted @ array if array.ndim == 2 else wanted + array
    np.testing.assert_allclose(data.expected[0], wanted, rtol=1e-4, atol=1e-4)


def test_too_slow_without_a_schedule(
    source: KernelDataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = dense_task()
    usual = source.data(task)
    built = source._built

    def built_if_scheduled(task: TuningTask) -> object:
        if not task.workload.endswith("-scheduled"):
            from compiler.tuner.trial import Measured

            raise TrialError(Measured(outcome="timed-out", reason="no result in 30 s"))
        return built(task)

    monkeypatch.setattr(source, "_built", built_if_scheduled)
    data = source.data(task)
    assert data.note == (
        "expected numbers are the default schedule's; without one: no result in 30 s"
    )
    np.testing.assert_allclose(data.expected[0], usual.expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlperf_tiny_kws_dscnn_f32", "mnist_dscnn_qdq8"])
def test_default_schedules_of_real_kernels_agree(source: KernelDataSource, name: str) -> None:
    """On the host; integers to the bit."""
    spec = load_target("host")
    model = load_model(MODELS / f"{name}.onnx", shapes={}, values={})
    found = tasks_of(distinct_workloads(mod := staged(model, spec), extract_program(mod, model)))
    with (
        BuildPool(spec, LoweringOptions(), workers=1) as pool,
        NativeRunner(1) as runner,
    ):
        for task in found.values():
            built = pool.submit(default_candidate(task, spec)).result(120)
            assert built.kernel is not None, (task.kernel, built.reason)
            measured = runner.measure(built.kernel, source.data(task))
            assert (measured.outcome, measured.reason) == ("passed", ""), task.kernel


@pytest.mark.slow
def test_a_schedule_with_wrong_numbers_is_caught(source: KernelDataSource) -> None:
    """A step that rounds sums to 16 bits, between two candidates that are right."""
    spec = load_target("host")
    found = tasks(conv_net_model(), spec)
    task = next(one for name, one in found.items() if name.startswith("conv2d_add_relu"))
    rounds: list[Any] = [
        ["GetSBlock", [], ["T_add", "main"], ["b0"]],
        ["UnsafeSetDType", ["b0"], [0, "float16"], []],
    ]
    right = default_candidate(task, spec)
    wrong = replace(right, trace=[rounds, []])
    data = source.data(task)
    with BuildPool(spec, LoweringOptions(), workers=1) as pool, NativeRunner(1) as runner:
        outcomes = []
        for candidate in (right, wrong, right):
            kernel = pool.submit(candidate).result(120).kernel
            assert kernel is not None
            outcomes.append(runner.measure(kernel, data).outcome)
    assert outcomes == ["passed", "wrong-numbers", "passed"]
