"""Schedules that came from elsewhere, each built, checked and measured alone before it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from compiler.program import CompiledKernel
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.target_spec import TargetSpec
from compiler.tuner.build_pool import BuildPool, LoweringOptions
from compiler.tuner.kernel_data import KernelDataSource
from compiler.tuner.native_runner import TrialError
from compiler.tuner.open_trials import RunnerOptions, open_runner
from compiler.tuner.placement import anywhere
from compiler.tuner.trial import Candidate, KernelData, Measured, TuningTask
from compiler.tuning.record import ScheduleRecord


class ScheduleTrials(ClosedOnExit):
    """Builds, runs and compares with the kernel without a schedule, in processes of their own."""

    def __init__(self, spec: TargetSpec, threads: int, tasks: Sequence[TuningTask]) -> None:
        """Name the kernels; processes start with the `with` statement.

        Args:
            spec: with the number of cores that a session will have.
        """
        self._spec, self._threads = spec, threads
        self._tasks: Mapping[str, TuningTask] = {task.workload: task for task in tasks}
        self._data: dict[str, KernelData] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start what builds and runs.

        Raises:
            CompilerError: nothing here does that for the target.
        """
        with ExitStack() as stack:
            runner = open_runner(self._spec, RunnerOptions(), self._threads, anywhere())
            self._runner = stack.enter_context(runner)
            pool = BuildPool(self._spec, LoweringOptions(), workers=1)
            self._pool = stack.enter_context(pool)
            self._source = stack.enter_context(KernelDataSource())
            self._stack = stack.pop_all()
        return self

    def close(self) -> None:
        self._stack.close()

    def tried(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord]:
        """Try schedules of one kernel until one passes; return what became of those tried.

        Args:
            records: the first one is tried first.

        Returns: records with the outcome of the trial; the measurement stays what it was.

        Raises:
            NotRunnableError: nothing can be measured any more.
        """
        task = self._tasks[records[0].workload]
        found: list[ScheduleRecord] = []
        for record in records:
            built = self._pool.submit(Candidate(task=task, trace=record.trace, rule="")).result()
            measured = Measured(outcome=built.outcome, reason=built.reason)
            if built.kernel is not None:
                measured = self._measured(task, built.kernel)
            found.append(replace(record, outcome=measured.outcome, reason=measured.reason))
            if measured.outcome == "passed":
                break
        return found

    def _measured(self, task: TuningTask, kernel: CompiledKernel) -> Measured:
        try:
            data = self._data.get(task.workload) or self._source.data(task)
        except TrialError:  # nothing tells what is right: the whole model's check must do
            return Measured(outcome="passed")
        self._data = {task.workload: data}  # of one kernel only: operands may be large
        return self._runner.measure(kernel, data)
