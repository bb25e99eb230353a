"""Runs in a worker process of `BuildPool`: replays a trace on a kernel and builds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compiler.errors import CompilerError
from compiler.families import family_build
from compiler.onnx_import.model import Weights
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.tuner.build_pool import BuildRequest, BuildSetup
from compiler.tuner.trial import Built
from compiler.tuner.worker_loop import serve


@dataclass(frozen=True, kw_only=True, slots=True)
class _NoModel:
    """Stands for the model: a kernel's code depends on none but for the prefix of C's symbols."""

    name: str = "trial"
    weights: Weights = "model"


def main() -> None:
    """Answer a `BuildRequest` with a `Built`."""
    serve(_prepare)


def _prepare(setup: BuildSetup) -> Callable[[BuildRequest], Built]:
    from compiler.scheduling import kernel_of_text  # TVM is imported before the first build

    options = setup.options
    lowering, _ = family_build(setup.spec).code_lowering(
        _NoModel(), setup.spec, exact=options.exact, precision=options.precision
    )
    kernels: dict[str, Any] = {}

    def answer(request: BuildRequest) -> Built:
        start = time.perf_counter()
        if request.func is not None:
            kernels[request.workload] = kernel_of_text(request.func)
        kernel, reason = _built(lowering.build, kernels[request.workload], request)
        return Built(
            kernel=kernel,
            outcome="not-built" if kernel is None else "passed",
            reason=reason,
            seconds=time.perf_counter() - start,
        )

    return answer


def _built(
    build: Callable[..., CompiledKernel], func: Any, request: BuildRequest
) -> tuple[CompiledKernel | None, str]:
    """The kernel, or why there is none."""
    from compiler.scheduling import replayed

    try:
        scheduled = replayed(func, request.trace).mod["main"]
    except Exception as failure:  # TVM's checks raise many kinds
        return None, f"cannot be replayed: {_first_line(failure)}"
    outcome = ScheduleOutcome(source="record", name=request.rule)
    try:
        kernel = build(
            scheduled, name=request.kernel, input_count=request.input_count, outcome=outcome
        )
    except CompilerError as failure:
        return None, f"{failure.what}: {failure.why}"
    return kernel, ""


def _first_line(failure: Exception) -> str:
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__
