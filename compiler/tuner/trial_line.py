"""Building and measuring at once: candidates go in, what became of each comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Protocol

from compiler.program import CompiledKernel
from compiler.tuner.finals import FinalResult, run_final
from compiler.tuner.search import Proposal, TaskSearch, Tried
from compiler.tuner.trial import Built, Candidate, KernelData, TrialRunner, TuningTask
from compiler.tuner.trial_log import TrialLog
from compiler.tuning.record import ScheduleRecord


class Builder(Protocol):
    """What builds candidates: `build_pool.BuildPool`."""

    def submit(self, candidate: Candidate) -> Future[Built]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """A proposal that was tried; its record is on the disk."""

    proposal: Proposal
    record: ScheduleRecord
    kernel: CompiledKernel | None
    measuring_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalEnded:
    """A task's last word."""

    task: TuningTask
    result: FinalResult | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A job that could not be done: no fault of a candidate."""

    task: TuningTask
    error: BaseException


Ended = TrialResult | FinalEnded | Broken


class NoDataError(Exception):
    """What a task's kernel should compute is not known: its candidates cannot be checked."""


class TrialLine:
    """Feeds a builder and, from its results, a runner, each by threads of its own.

    A record is written by the thread that measured, so that a killed process loses only what was
    in flight. What has ended waits in a queue for `get`.
    """

    def __init__(
        self,
        builder: Builder,
        runner: TrialRunner,
        log: TrialLog,
        data_of: Callable[[TuningTask], KernelData],
    ) -> None:
        self._builder, self._runner, self._log, self._data_of = builder, runner, log, data_of
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._measuring = ThreadPoolExecutor(runner.slots, thread_name_prefix="measure")
        self._drawing = ThreadPoolExecutor(1, thread_name_prefix="operands")
        self._futures: dict[str, Future[KernelData]] = {}
        self.in_flight = 0

    def __enter__(self) -> TrialLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for executor in (self._measuring, self._drawing):
            executor.shutdown(wait=kind is None, cancel_futures=True)

    def start(self, proposal: Proposal) -> None:
        """Build a candidate, then measure it."""
        self.in_flight += 1
        self._data_future(proposal.candidate.task)  # computed while the candidate is built
        building = self._builder.submit(proposal.candidate)
        building.add_done_callback(lambda done: self._built(proposal, done))

    def start_final(self, search: TaskSearch, kernels: dict[str, CompiledKernel]) -> None:
        """Measure a task's best candidates in turns."""
        self.in_flight += 1
        self._measuring.submit(self._guarded, search.task, lambda: self._final(search, kernels))

    def get(self) -> Ended:
        """Wait for the next job to end."""
        ended = self._ended.get()
        self.in_flight -= 1
        return ended

    def forget(self, task: TuningTask) -> None:
        """The task is over: its operands need no memory any more."""
        self._futures.pop(task.workload, None)

    def _data_future(self, task: TuningTask) -> Future[KernelData]:
        if task.workload not in self._futures:
            self._futures[task.workload] = self._drawing.submit(self._data_of, task)
        return self._futures[task.workload]

    def _data(self, task: TuningTask) -> KernelData:
        try:
            return self._data_future(task).result()
        except Exception as cause:  # of this task, whatever it is: others can go on
            raise NoDataError(str(cause) or type(cause).__name__) from cause

    def _built(self, proposal: Proposal, building: Future[Built]) -> None:
        """In a thread of the builder."""
        task = proposal.candidate.task
        if building.cancelled():
            self._ended.put(Broken(task=task, error=InterruptedError("the build was cancelled")))
            return
        try:
            built = building.result()
            if built.kernel is None:
                self._guarded(task, lambda: self._failed(proposal, built))
            else:
                kernel = built.kernel
                self._measuring.submit(
                    self._guarded, task, lambda: self._measured(proposal, kernel)
                )
        except BaseException as error:  # the run must hear of it: it waits for this trial
            self._ended.put(Broken(task=task, error=error))

    def _failed(self, proposal: Proposal, built: Built) -> Ended:
        record = self._log.write(proposal.candidate, built)
        return TrialResult(proposal=proposal, record=record, kernel=None)

    def _measured(self, proposal: Proposal, kernel: CompiledKernel) -> Ended:
        data = self._data(proposal.candidate.task)
        began = time.monotonic()
        measured = self._runner.measure(kernel, data)
        record = self._log.write(proposal.candidate, measured)
        return TrialResult(
            proposal=proposal,
            record=record,
            kernel=kernel,
            measuring_s=time.monotonic() - began,
        )

    def _final(self, search: TaskSearch, kernels: dict[str, CompiledKernel]) -> Ended:
        def built(finalists: Sequence[Tried]) -> list[CompiledKernel | None]:
            jobs = {
                one.trace_id: self._builder.submit(
                    Candidate(task=search.task, trace=one.trace, rule=one.rule)
                )
                for one in finalists
                if one.trace_id not in kernels
            }
            made = {name: job.result().kernel for name, job in jobs.items()}
            return [kernels.get(one.trace_id) or made[one.trace_id] for one in finalists]

        data = self._data(search.task)
        result = run_final(search, built, data, self._runner, self._log)
        return FinalEnded(task=search.task, result=result)

    def _guarded(self, task: TuningTask, job: Callable[[], Ended]) -> None:
        try:
            ended = job()
        except BaseException as error:  # the run must hear of it: it waits for this job
            ended = Broken(task=task, error=error)
        self._ended.put(ended)
