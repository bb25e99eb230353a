"""Candidates are built in processes of their own, as the pipeline builds them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler import scheduling
from compiler.errors import ToolchainError
from compiler.kernels.build import build_kernel
from compiler.onnx_import.load import load_model
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.relax_program import extract_program
from compiler.scheduling import distinct_workloads, replayed
from compiler.target_spec import TargetSpec, load_target
from compiler.tuner.build_pool import BuildPool, LoweringOptions
from compiler.tuner.trial import Built, Candidate, TuningTask
from compiler.tvm_target import tvm_target
from tests.lowered import fixed_spec, staged
from tests.onnx_models import conv_net_model
from tests.tuning_tasks import default_candidate, other_candidate, tasks, tasks_of

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def task() -> TuningTask:
    found = tasks(conv_net_model(), fixed_spec())
    return next(one for name, one in found.items() if name.startswith("conv2d_add_relu"))


@pytest.fixture(scope="module")
def pool() -> Iterator[BuildPool]:
    with BuildPool(fixed_spec(), LoweringOptions(), workers=1) as opened:
        yield opened


def built_here(candidate: Candidate) -> CompiledKernel:
    task = candidate.task
    return build_kernel(
        replayed(task.func, candidate.trace).mod["main"],
        name=task.kernel,
        input_count=task.input_count,
        outcome=ScheduleOutcome(source="record", name=candidate.rule),
        target=tvm_target(fixed_spec()),
    )


def test_builds_are_those_of_the_pipeline(pool: BuildPool, task: TuningTask) -> None:
    candidates = [default_candidate(task, fixed_spec()), other_candidate(task, fixed_spec())]
    futures = [pool.submit(candidate) for candidate in candidates]
    for candidate, future in zip(candidates, futures, strict=True):
        built = future.result(60)
        assert (built.outcome, built.reason) == ("passed", "")
        assert built.kernel == built_here(candidate)
        assert built.seconds > 0
    assert futures[0].result().kernel != futures[1].result().kernel


def test_steps_that_do_not_fit(pool: BuildPool, task: TuningTask) -> None:
    steps: Any = [["GetSBlock", [], ["no_such_block", "main"], ["b0"]]]
    built = pool.submit(Candidate(task=task, trace=[steps, []], rule="")).result(60)
    assert built.outcome == "not-built"
    assert built.kernel is None
    assert built.reason.startswith("cannot be replayed: ")


def test_schedule_that_cannot_be_lowered(pool: BuildPool, task: TuningTask) -> None:
    # A step of all loops to the GPU: there is no code for it on a CPU.
    bound: Any = [
        ["GetSBlock", [], ["conv2d", "main"], ["b0"]],
        ["GetLoops", ["b0"], [], ["l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8"]],
        ["Bind", ["l2"], ["threadIdx.x"], []],
    ]
    built = pool.submit(Candidate(task=task, trace=[bound, []], rule="")).result(60)
    assert built.outcome == "not-built"
    assert "no machine code can be made" in built.reason or "cannot be replayed" in built.reason


def test_a_crash_costs_one_candidate(
    pool: BuildPool, task: TuningTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = default_candidate(task, fixed_spec())
    planted = replace(candidate, task=replace(task, workload="planted"))
    monkeypatch.setattr(scheduling, "kernel_text", lambda _: "no kernel")  # ends the process
    crashed = pool.submit(planted)
    after = pool.submit(candidate)
    built = crashed.result(60)
    assert (built.outcome, built.kernel) == ("crashed", None)
    assert built.reason.startswith("build: ended with status 1: ")
    assert after.result(60).outcome == "passed"


def test_a_build_that_takes_too_long(task: TuningTask) -> None:
    candidate = default_candidate(task, fixed_spec())
    with BuildPool(fixed_spec(), LoweringOptions(), workers=1, timeout_s=0.001) as pool:
        built = pool.submit(candidate).result(60)
    assert (built.outcome, built.kernel) == ("timed-out", None)
    assert built.reason == "build: no answer in 0.001 s"


def test_what_is_not_done_at_the_end_is_cancelled(task: TuningTask) -> None:
    candidate = default_candidate(task, fixed_spec())
    with BuildPool(fixed_spec(), LoweringOptions(), workers=1) as pool:
        futures: list[Future[Built]] = [pool.submit(candidate) for _ in range(50)]
    with pytest.raises(CancelledError):
        futures[-1].result(0)
    assert all(future.done() for future in futures)


def test_target_without_its_compiler() -> None:
    spec = fixed_spec()
    spec = replace(spec, toolchain=replace(spec.toolchain, cc=("no-such-compiler",)))
    with (
        pytest.raises(ToolchainError, match="`no-such-compiler` was not found"),
        BuildPool(spec, LoweringOptions(), workers=1),
    ):
        pass


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
@pytest.mark.parametrize("target", ["cortex-m4f", "cortex-m55"])
def test_microcontrollers_get_code_of_their_toolchain(target: str) -> None:
    spec: TargetSpec = load_target(target)
    model = load_model(MODELS / "mnist_dscnn_qdq8.onnx", shapes={}, values={})
    mod = staged(model, spec)
    found = tasks_of(distinct_workloads(mod, extract_program(mod, model)))
    task = next(one for name, one in found.items() if name.startswith("integer_conv2d"))
    with BuildPool(spec, LoweringOptions(), workers=1) as pool:
        built = pool.submit(default_candidate(task, spec)).result(60)
    assert built.kernel is not None, built.reason
    assert built.kernel.object_code.startswith(b"\x7fELF\x01")  # of 32 bits
    is_c = not spec.has_llvm_kernels
    assert ("void trial__" in built.kernel.source) == is_c
