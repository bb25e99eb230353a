"""Trials become records the moment they end: on the disk before anything else is done."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from compiler.tuner.search import Tried
from compiler.tuner.trial import Built, Candidate, Measured, TrialRunner, TuningTask
from compiler.tuning.folder import Line, read_lines
from compiler.tuning.record import Measurement, Outcome, ScheduleRecord
from compiler.tuning.target_key import TargetKey
from compiler.tuning.writer import RecordWriter


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLog:
    """Writes what became of candidates, measured by one runner; from any thread."""

    key: TargetKey
    writer: RecordWriter
    runner: TrialRunner
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def write(self, candidate: Candidate, trial: Built | Measured) -> ScheduleRecord:
        """Append how a candidate went; when this returns, it is on the disk."""
        values = trial.values if isinstance(trial, Measured) else ()
        return self._append(
            candidate.task, candidate.trace, candidate.rule, values, trial.outcome, trial.reason
        )

    def write_in_turns(
        self, task: TuningTask, tried: Tried, measured: Measured, reference: float | None
    ) -> ScheduleRecord:
        """Append what a finalist took in turns with the default.

        Args:
            reference: what the default took, if this one may be used instead of it, or is it.
        """
        return self._append(
            task,
            tried.trace,
            tried.rule,
            measured.values,
            measured.outcome,
            measured.reason,
            reference,
        )

    def _append(
        self,
        task: TuningTask,
        trace: list[object],
        rule: str,
        values: tuple[float, ...],
        outcome: Outcome,
        reason: str,
        reference: float | None = None,
    ) -> ScheduleRecord:
        record = ScheduleRecord(
            target=self.key,
            workload=task.workload,
            kernel=task.kernel,
            rule=rule,
            trace=trace,
            outcome=outcome,
            reason=reason,
            measurement=Measurement(
                unit=self.runner.unit,
                values=values,
                runner=self.runner.name,
                conditions=self.runner.conditions,
                reference=reference,
            ),
        )
        with self._lock:
            self.writer.append(record)
        return record


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownRecords:
    """All records of a folder: those of this very target, and those of others."""

    own: tuple[ScheduleRecord, ...]
    others: tuple[ScheduleRecord, ...]

    def of(self, workload: str) -> list[ScheduleRecord]:
        return [record for record in self.own if record.workload == workload]


def known_records(folder: Path, key: TargetKey) -> KnownRecords:
    """Read a folder of records; one that is not there has none."""
    if not folder.is_dir():
        return KnownRecords(own=(), others=())
    own, others = [], []
    for record in _schedules(read_lines(folder)):
        (own if record.target.fingerprint == key.fingerprint else others).append(record)
    return KnownRecords(own=tuple(own), others=tuple(others))


def _schedules(lines: Iterable[Line]) -> Iterable[ScheduleRecord]:
    for line in lines:
        if isinstance(line.record, ScheduleRecord):
            yield line.record
