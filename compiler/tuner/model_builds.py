"""Builds of one model with records and without, and what became of them.

They are made in this process, as each kernel was built before; what runs them is another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from compiler.artifact.manifest import Artifact
from compiler.errors import (
    LimitError,
    NotRunnableError,
    OtherMachineError,
    ToolchainError,
    VerificationError,
)
from compiler.onnx_import.model import Model
from compiler.pipeline import compile as compile_model
from compiler.target_spec import Precision, TargetSpec
from compiler.tuner.model_process import ModelProcess
from compiler.tuner.run_times import RunTimes, code_of_kernels
from compiler.tuner.worker_process import WorkerError, WorkerTimedOutError
from compiler.tuning.record import ChoiceRecord, ScheduleRecord
from compiler.tuning.target_key import TargetKey
from compiler.tuning.writer import RecordWriter
from compiler.verify import require_passed

Usable = ScheduleRecord | ChoiceRecord
Report = Callable[[str], None]

_RUNS_S = 10.0  # of both builds together
# A kernel that is slower in the model by more than that is to blame. Its share of the model's time
# may be small, so that many of them hide behind a noise of half a percent.
_SLOWER_KERNEL = 1.02
# One that takes more than that of the default's time is not worth a record.
_FASTER_KERNEL = 0.99
# What hangs is found out by the build without records: as much longer nothing may take, but for
# what a busy machine takes; and how long that build itself, of which nothing is known, may take.
_SLOWER, _LEAST_S, _UNKNOWN_S = 5.0, 30.0, 1800.0
_MOST_RUNS = 140  # that `run_times` asks for however long they take


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What became of a build with some records."""

    problem: str = ""  # empty: it may be used
    times: RunTimes | None = None
    to_blame: tuple[tuple[str, str], ...] = ()  # names of records that are known to be, and why
    build: Artifact | None = None  # None: it could not be made

    @property
    def used(self) -> frozenset[str] | None:
        """Names of the records that the build had use for."""
        if self.build is None:
            return None
        return frozenset(self.build.manifest.provenance.records_used)


class NotComparedError(Exception):
    """Nothing here runs the target, so nothing can be said against the records."""


class Builds:
    """Builds of one model with records, beside the one without."""

    def __init__(
        self,
        model: Model,
        spec: TargetSpec,
        key: TargetKey,
        exact: bool,
        precision: Precision,
        work: Path,
        process: ModelProcess,
        report: Report,
    ) -> None:
        self._model, self._spec, self._key = model, spec, key
        self._exact, self._precision = exact, precision
        self._work, self._process, self._report = work, process, report
        self._count = 0
        self._is_checked = True
        self._check_limit_s = self._runs_limit_s = _UNKNOWN_S
        report("build without records")
        self._old = self._without_records()

    def _without_records(self) -> Artifact | None:
        """What all others are compared with; None if the limits do not admit it."""
        try:
            old = self._built(None)
            start = monotonic()
            self._check(old)
            self._check_limit_s = max(_LEAST_S, _SLOWER * (monotonic() - start))
        except LimitError:
            return None
        except VerificationError:  # drawn inputs do not suit this model: nothing shows by them
            self._is_checked = False
        except WorkerError as failure:
            raise NotRunnableError(
                f"{self._model.name} without records {_how(failure)}",
                why="records are judged beside the model without them",
                fix="report the model: no record is to blame",
            ) from failure
        return old

    def trial(self, records: Sequence[Usable]) -> Trial:
        """Build the model with these records, check it, and compare it with that without."""
        self._report(f"build with {len(records)} records")
        new = None
        try:
            new = self._built(records)
            try:
                self._check(new)
            except VerificationError as failure:
                return Trial(problem=failure.what, to_blame=self._wrong(new), build=new)
            times = None if self._old is None else self._times(self._old, new)
        except (LimitError, ToolchainError) as failure:  # or it cannot be linked or run
            return Trial(problem=f"{failure.what}: {failure.why}", build=new)
        except WorkerError as failure:
            return Trial(problem=f"{self._model.name} {_how(failure)}", build=new)
        if (
            self._old is None
            or times is None
            or not times.is_slower
            or _are_same(self._old, new)  # only the moment was slower
        ):
            return Trial(times=times, build=new)
        problem = f"{self._model.name} takes {times.ratio:.3f} times as long"
        blamed = self._takes(self._old, new, times, _SLOWER_KERNEL)
        return Trial(problem=problem, times=times, to_blame=blamed, build=new)

    def without_gain(self, trial: Trial) -> Mapping[str, str]:
        """Names of records whose kernels are no faster in the model than by default, and why.

        Returns: nothing where that cannot be timed.
        """
        if self._old is None or trial.problem or trial.build is None or trial.times is None:
            return {}
        return dict(self._takes(self._old, trial.build, trial.times, _FASTER_KERNEL))

    def _check(self, new: Artifact) -> None:
        """Compare with onnxruntime, and hold to limits that only a run can show.

        Raises:
            VerificationError, LimitError: it is wrong, or over a limit.
            WorkerError: it crashes or hangs.
        """
        if self._is_checked:
            limit_s = self._check_limit_s
            result = self._process.check(new.path, timeout_s=limit_s)
            require_passed(self._model.name, result)
            self._process.check_limits(self._spec, new.path, timeout_s=limit_s)

    def _times(self, old: Artifact, new: Artifact) -> RunTimes:
        self._report("run in turns")
        try:
            times = self._in_turns(old, new)
            if times.is_slower and not _are_same(old, new):
                # Perhaps by where memory happened to lie: opened anew.
                times = min(times, self._in_turns(old, new), key=lambda one: one.ratio)
        except (NotRunnableError, OtherMachineError) as refusal:
            raise NotComparedError(refusal.what) from refusal
        return times

    def _in_turns(self, old: Artifact, new: Artifact) -> RunTimes:
        threads = self._key.threads
        if self._runs_limit_s == _UNKNOWN_S:
            once_s = self._process.run_seconds(old, threads, timeout_s=_UNKNOWN_S)
            self._runs_limit_s = max(_LEAST_S, _RUNS_S + _SLOWER * _MOST_RUNS * once_s)
        return self._process.compare_runs(
            old, new, threads=threads, budget_s=_RUNS_S, timeout_s=self._runs_limit_s
        )

    def _takes(
        self, old: Artifact, new: Artifact, times: RunTimes, share: float
    ) -> tuple[tuple[str, str], ...]:
        """Records of kernels that take more in the model than a share of what the default takes.

        A record by which a kernel is the very code of the default is not among them.
        """
        native = new.manifest.runner.kind == "native" and new.manifest.target.family == "cpu"
        if times.unit != "us" or not native:
            return ()
        self._report("time each kernel")
        try:
            ratios = self._process.kernel_ratios(
                old, new, threads=self._key.threads, timeout_s=self._runs_limit_s
            )
        except WorkerError:
            return ()
        default, code = code_of_kernels(old), code_of_kernels(new)
        return tuple(
            (record, f"in {self._model.name} {kernel} takes {ratio:.2f} times as long")
            for kernel, record in _records_of_kernels(new).items()
            if (ratio := ratios.get(kernel, 0.0)) > share and code[kernel] != default[kernel]
        )

    def _wrong(self, new: Artifact) -> tuple[tuple[str, str], ...]:
        """Records of kernels whose numbers are not onnxruntime's."""
        self._report("check each kernel")
        try:
            result = self._process.check(new.path, per_kernel=True, timeout_s=self._check_limit_s)
        except WorkerError:
            return ()
        used = _records_of_kernels(new)
        return tuple(
            (used[kernel.kernel], f"numbers of {kernel.kernel} are not onnxruntime's")
            for kernel in result.kernels
            if not kernel.passed and kernel.kernel in used
        )

    def _built(self, records: Sequence[Usable] | None) -> Artifact:
        self._count += 1
        logs = self._work / f"records-{self._count}"
        if records is not None:
            with RecordWriter(logs, self._key) as writer:
                for record in records:
                    writer.append(record)
        return compile_model(
            self._model,
            target=self._spec,
            output=self._work / f"build-{self._count}",
            threads=self._key.threads,
            exact=self._exact,
            precision=self._precision,
            records=None if records is None else logs,
            verify="skip",  # that is for the other process
            jobs=len(os.sched_getaffinity(0)),
        )


def _records_of_kernels(artifact: Artifact) -> dict[str, str]:
    """The record that each kernel's schedule came from, by kernel."""
    return {
        call["kernel"]: call["schedule"]["name"]
        for call in artifact.report()["kernels"]
        if call["schedule"]["source"] == "record"
    }


def _are_same(old: Artifact, new: Artifact) -> bool:
    """Whether all records are those of the default schedules: the same code."""
    return code_of_kernels(old) == code_of_kernels(new)


def _how(failure: WorkerError) -> str:
    does = "hangs" if isinstance(failure, WorkerTimedOutError) else "crashes"
    return f"{does} ({failure})"
