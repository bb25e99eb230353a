"""Builds candidates in processes of their own: a build that crashes or hangs harms no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from compiler.target_spec import Precision, TargetSpec
from compiler.toolchain import find_toolchain
from compiler.tuner.trial import Built, Candidate, TuningTask
from compiler.tuner.worker_process import WorkerError, WorkerProcess, WorkerTimedOutError

_MODULE = "compiler.tuner.build_worker"
_NICE = 5  # what measures beside it goes first


@dataclass(frozen=True, kw_only=True, slots=True)
class LoweringOptions:
    """What a lowering depends on besides the target, as `compile` has it."""

    exact: bool = False
    precision: Precision = "float32"


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSetup:
    """What a worker needs to know for all its builds."""

    spec: TargetSpec
    options: LoweringOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRequest:
    """One build. The kernel is sent to a worker once; then its workload names it."""

    workload: str
    func: str | None  # scheduling.kernel_text
    kernel: str
    input_count: int
    trace: list[Any]
    rule: str


_Job = tuple[Candidate, "Future[Built]"]


class BuildPool(AbstractContextManager["BuildPool"]):
    """Worker processes that replay a candidate's trace and build it as the pipeline would."""

    def __init__(
        self,
        spec: TargetSpec,
        options: LoweringOptions,
        *,
        workers: int,
        cpus: Sequence[int] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Make a pool; its processes start with the `with` statement.

        Args:
            cpus: logical processors that the workers share; None: as the system decides.
            timeout_s: of one build.
        """
        self._setup = BuildSetup(spec=spec, options=options)
        self._cpus = cpus
        self._timeout_s = timeout_s
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._texts: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._workers: list[_Worker] = []
        self._threads = [
            threading.Thread(target=self._work, name=f"build-{number}", daemon=True)
            for number in range(workers)
        ]

    def __enter__(self) -> BuildPool:
        """Start the processes.

        Raises:
            ToolchainError: the target's compiler is missing: no build would succeed.
        """
        find_toolchain(self._setup.spec.toolchain.cc)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all processes. Futures that are not done are cancelled."""
        self._closing = True
        for _ in self._threads:
            self._jobs.put(None)
        with self._lock:
            for worker in self._workers:
                worker.kill()
        for thread in self._threads:
            thread.join()

    def submit(self, candidate: Candidate) -> Future[Built]:
        """Return what will become of the candidate's build. It never holds an exception."""
        future: Future[Built] = Future()
        self._jobs.put((candidate, future))
        return future

    def _work(self) -> None:
        worker = _Worker(self._setup, self._cpus, self._timeout_s, self._text)
        with self._lock:
            self._workers.append(worker)
        try:
            while (job := self._jobs.get()) is not None:
                candidate, future = job
                if not self._closing and not future.cancelled():
                    self._finish(future, worker.build(candidate))
                else:
                    future.cancel()
        finally:
            worker.close()

    def _finish(self, future: Future[Built], built: Built) -> None:
        if self._closing:  # its process was killed
            future.cancel()
        elif future.set_running_or_notify_cancel():
            future.set_result(built)

    def _text(self, task: TuningTask) -> str:
        """The task's kernel as JSON, written once."""
        with self._lock:
            if task.workload not in self._texts:
                from compiler.scheduling import kernel_text

                self._texts[task.workload] = kernel_text(task.func)
            return self._texts[task.workload]


class _Worker:
    """A process, and the next one when it has died."""

    def __init__(
        self,
        setup: BuildSetup,
        cpus: Sequence[int] | None,
        timeout_s: float,
        text: Callable[[TuningTask], str],
    ) -> None:
        self._setup, self._cpus, self._timeout_s, self._text = setup, cpus, timeout_s, text
        self._process: WorkerProcess | None = None
        self._sent: set[str] = set()  # workloads that this process knows
        self._closed = False

    def build(self, candidate: Candidate) -> Built:
        try:
            return self._ask(candidate)
        except WorkerTimedOutError as failure:
            self._process = None
            return Built(kernel=None, outcome="timed-out", reason=f"build: {failure}")
        except WorkerError as failure:
            self._process = None
            return Built(kernel=None, outcome="crashed", reason=f"build: {failure}")

    def _ask(self, candidate: Candidate) -> Built:
        task = candidate.task
        if self._process is None:
            self._process = WorkerProcess(_MODULE, self._setup, cpus=self._cpus, nice=_NICE)
            self._sent = set()
            if self._closed:
                self._process.kill()
        request = BuildRequest(
            workload=task.workload,
            func=None if task.workload in self._sent else self._text(task),
            kernel=task.kernel,
            input_count=task.input_count,
            trace=candidate.trace,
            rule=candidate.rule,
        )
        built: Built = self._process.ask(request, timeout_s=self._timeout_s)
        self._sent.add(task.workload)
        return built

    def kill(self) -> None:
        """From another thread: end the build that runs, if one does."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
