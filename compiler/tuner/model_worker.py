"""Runs in the process of a `ModelProcess`: checks and runs libraries of its model."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from compiler.drawn_inputs import drawn_inputs
from compiler.onnx_import.model import Model
from compiler.runners.open_runner import open_runner
from compiler.running_limits import check_running_limits
from compiler.tuner.model_process import (
    CheckRequest,
    CompareRequest,
    KernelsRequest,
    LimitsRequest,
    RunRequest,
)
from compiler.tuner.run_times import compare_runs, kernel_ratios
from compiler.tuner.worker_loop import serve, with_errors
from compiler.verify import check


def main() -> None:
    """Answer the requests of `model_process`; with the error if one is raised on purpose."""
    serve(_prepare)


def _prepare(model: Model) -> Callable[[Any], Any]:
    answers: dict[type, Callable[[Any], Any]] = {
        CheckRequest: lambda one: check(one.folder, model, per_kernel=one.per_kernel),
        LimitsRequest: lambda one: check_running_limits(one.spec, one.folder, lambda _: None),
        RunRequest: _run_seconds,
        CompareRequest: lambda one: compare_runs(
            one.old, one.new, threads=one.threads, budget_s=one.budget_s
        ),
        KernelsRequest: lambda one: kernel_ratios(one.old, one.new, threads=one.threads),
    }
    return with_errors(lambda request: answers[type(request)](request))


def _run_seconds(request: RunRequest) -> float:
    with open_runner(request.artifact, request.threads) as runner:
        arrays = drawn_inputs(runner.inputs)
        start = perf_counter()
        runner.run([arrays])
        return perf_counter() - start
