"""Libraries of one model, checked and run in a process that may crash or hang."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.artifact.manifest import Artifact
from compiler.onnx_import.model import Model
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.target_spec import TargetSpec
from compiler.tuner.worker_process import WorkerError, WorkerProcess, raised

if TYPE_CHECKING:
    from compiler.tuner.run_times import RunTimes
    from compiler.verification.result import Verification

_MODULE = "compiler.tuner.model_worker"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRequest:
    """Compare a library with onnxruntime: `compiler.verify.check`."""

    folder: Path
    per_kernel: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitsRequest:
    """Hold a library to what only a run can show: `check_running_limits`."""

    spec: TargetSpec
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """Run a library once; answered by the seconds."""

    artifact: Artifact
    threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareRequest:
    """Run two builds in turns: `run_times.compare_runs`."""

    old: Artifact
    new: Artifact
    threads: int
    budget_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelsRequest:
    """Time each kernel of two builds: `run_times.kernel_ratios`."""

    old: Artifact
    new: Artifact
    threads: int


class ModelProcess(ClosedOnExit):
    """One process, and the next one when it has died. Use it from one thread.

    Every question raises WorkerError if the library crashes or takes longer than `timeout_s`, and
    the `CompilerError` that the same question would raise in this process.
    """

    def __init__(self, model: Model) -> None:
        """Take the model; the process starts with the first question."""
        self._model = model
        self._process: WorkerProcess | None = None

    def check(self, folder: Path, *, per_kernel: bool = False, timeout_s: float) -> Verification:
        """As `compiler.verify.check`."""
        request = CheckRequest(folder=folder, per_kernel=per_kernel)
        result: Verification = self._ask(request, timeout_s)
        return result

    def check_limits(self, spec: TargetSpec, folder: Path, *, timeout_s: float) -> None:
        """As `check_running_limits`."""
        self._ask(LimitsRequest(spec=spec, folder=folder), timeout_s)

    def run_seconds(self, artifact: Artifact, threads: int, *, timeout_s: float) -> float:
        """What the first run of a library takes, by the clock on the wall."""
        seconds: float = self._ask(RunRequest(artifact=artifact, threads=threads), timeout_s)
        return seconds

    def compare_runs(
        self, old: Artifact, new: Artifact, *, threads: int, budget_s: float, timeout_s: float
    ) -> RunTimes:
        """As `run_times.compare_runs`: both in the same process, in turns."""
        request = CompareRequest(old=old, new=new, threads=threads, budget_s=budget_s)
        times: RunTimes = self._ask(request, timeout_s)
        return times

    def kernel_ratios(
        self, old: Artifact, new: Artifact, *, threads: int, timeout_s: float
    ) -> Mapping[str, float]:
        """As `run_times.kernel_ratios`."""
        request = KernelsRequest(old=old, new=new, threads=threads)
        ratios: Mapping[str, float] = self._ask(request, timeout_s)
        return ratios

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, request: Any, timeout_s: float) -> Any:
        if self._process is None:
            self._process = WorkerProcess(_MODULE, self._model)
        try:
            answer = self._process.ask(request, timeout_s=timeout_s)
        except WorkerError:
            self._process = None
            raise
        return raised(answer)
