"""Builders and runners of the tuner that build and measure nothing: times are made up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import log2, prod
from typing import Any

import onnx

from compiler.errors import NotRunnableError
from compiler.program import CompiledKernel, KernelMemory, ScheduleOutcome
from compiler.target_spec import TargetSpec
from compiler.tuner.tasks import TaskList, tuning_tasks
from compiler.tuner.trial import Built, Candidate, KernelData, Measured, TuningTask
from compiler.tuning.record import Unit, trace_id
from compiler.tuning.target_key import TargetKey, target_key
from tests.lowered import fixed_spec, loaded
from tests.onnx_models import conv_net_model

Cost = Callable[[TuningTask, list[Any]], float | str]


def found_tasks(
    model: onnx.ModelProto | None = None, kernels: str = "*", spec: TargetSpec | None = None
) -> TaskList:
    """The tasks of a small model for a target that does not depend on this machine."""
    spec = (spec or fixed_spec()).with_cores(1)
    return tuning_tasks(loaded(model or conv_net_model()), spec, kernels=kernels)


def key_of(spec: TargetSpec | None = None) -> TargetKey:
    return target_key(spec or fixed_spec(), 1)


def drawn(trace: list[Any]) -> list[float]:
    """What a trace's draws with more than one choice stand for, the innermost factor of a loop."""
    steps, decided = trace
    found: list[float] = []
    for index, decision in decided:
        kind, attributes = steps[index][0], steps[index][2]
        if kind == "SampleCategorical" and len(attributes[0]) > 1:
            found.append(float(attributes[0][int(decision)]))
        elif kind == "SamplePerfectTile" and prod(decision) > 1:
            found.append(float(decision[-1]))
    return found


def best_at(wanted: float) -> Cost:
    """A cost that is least, 100, where every draw stands for `wanted`."""

    def cost(_task: TuningTask, trace: list[Any]) -> float:
        return 100.0 + 10.0 * sum(abs(log2(value / wanted)) for value in drawn(trace))

    return cost


@dataclass
class FakeBench:
    """Both builder and runner. A cost is microseconds, or how a candidate fails."""

    cost: Cost
    unit: Unit = "us"
    slots: int = 1
    name: str = "native"
    conditions: str = "made up"
    seconds: float = 0.0  # of a build, and of measuring
    broken_after: int | None = None  # trials, then there is no runner any more
    lucky: dict[str, float] = field(default_factory=dict)  # first reading of a trace, a factor
    tried: list[tuple[str, str]] = field(default_factory=list)  # kernel, trace
    overlapped: bool = False  # whether something was built while something was measured

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._lock = threading.Lock()
        self._costs: dict[str, float | str] = {}
        self._busy = {"build": 0, "measure": 0}
        self._measured = 0

    def submit(self, candidate: Candidate) -> Future[Built]:
        return self._pool.submit(self._build, candidate)

    def _build(self, candidate: Candidate) -> Built:
        self._work("build")
        name = f"{candidate.task.kernel} {trace_id(candidate.trace)}"
        cost = self.cost(candidate.task, candidate.trace)
        with self._lock:
            self.tried.append((candidate.task.kernel, trace_id(candidate.trace)))
            self._costs[name] = cost
        if cost == "not-built":
            return Built(kernel=None, outcome="not-built", reason="made up")
        kernel = CompiledKernel(
            name=name,
            phases=(),
            memory=KernelMemory(),
            schedule=ScheduleOutcome(source="rule", name="made up"),
            object_code=b"",
            code_bytes=0,
        )
        return Built(kernel=kernel)

    def measure(self, kernel: CompiledKernel, data: KernelData) -> Measured:
        assert kernel.name.startswith(data.key)
        self._work("measure")
        self._measured += 1
        if self.broken_after is not None and self._measured > self.broken_after:
            raise NotRunnableError("no board is left", why="made up", fix="none")
        return self._outcome(kernel, self.lucky.get(kernel.name.split()[1], 1.0))

    def measure_in_turns(
        self, kernels: Sequence[CompiledKernel], data: KernelData, rounds: int
    ) -> tuple[Measured, ...]:
        assert all(kernel.name.startswith(data.key) for kernel in kernels)
        assert rounds >= 1
        return tuple(self._outcome(kernel, 1.0) for kernel in kernels)

    def _outcome(self, kernel: CompiledKernel, factor: float) -> Measured:
        cost = self._costs[kernel.name]
        if isinstance(cost, str):
            return Measured(outcome=cost, reason="made up")  # type: ignore[arg-type]
        return Measured(outcome="passed", values=tuple(cost * factor for _ in range(3)))

    def _work(self, kind: str) -> None:
        with self._lock:
            self._busy[kind] += 1
            self.overlapped = self.overlapped or all(self._busy.values())
        time.sleep(self.seconds)
        with self._lock:
            self._busy[kind] -= 1

    def __enter__(self) -> FakeBench:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def no_data(task: TuningTask) -> KernelData:
    return KernelData(key=task.kernel, inputs=(), expected=())
