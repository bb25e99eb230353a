"""Trials become records the moment they end: on the disk before anything else is done."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from compiler.tuner.search import Tried
from compiler.tuner.trial import Built, Candidate, Measured, TrialRunner, TuningTask
from compiler.tuning.folder import read_lines
from compiler.tuning.record import Measurement, Outcome, ScheduleRecord, Verdict
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
        return self.append(self.record(candidate, trial))

    def append(self, record: ScheduleRecord) -> ScheduleRecord:
        """Write a record to the disk."""
        with self._lock:
            self.writer.append(record)
        return record

    def record(self, candidate: Candidate, trial: Built | Measured) -> ScheduleRecord:
        """Return how a candidate went, without writing it."""
        values = trial.values if isinstance(trial, Measured) else ()
        return self._record(
            candidate.task, candidate.trace, candidate.rule, values, trial.outcome, trial.reason
        )

    def write_in_turns(
        self, task: TuningTask, tried: Tried, measured: Measured, reference: float | None
    ) -> ScheduleRecord:
        """Append what a finalist took in turns with the default.

        Args:
            reference: what the default took, if this one may be used instead of it, or is it.
        """
        record = self._record(
            task,
            tried.trace,
            tried.rule,
            measured.values,
            measured.outcome,
            measured.reason,
            reference,
        )
        return self.append(record)

    def _record(
        self,
        task: TuningTask,
        trace: list[object],
        rule: str,
        values: tuple[float, ...],
        outcome: Outcome,
        reason: str,
        reference: float | None = None,
    ) -> ScheduleRecord:
        return ScheduleRecord(
            target=self.key,
            workload=task.workload,
            kernel=task.kernel,
            rule=rule,
            trace=trace,
            outcome=outcome,
            reason=reason,
            measurement=Measurement(
                unit=self.runner.unit,
                values=tuple(float(value) for value in values),
                runner=self.runner.name,
                conditions=self.runner.conditions,
                reference=reference,
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownRecords:
    """All records of a folder: those of this very target, and those of others."""

    own: tuple[ScheduleRecord, ...]
    others: tuple[ScheduleRecord, ...]
    rejected: frozenset[tuple[str, str]] = frozenset()  # (workload, trace_id), of this target

    def of(self, workload: str) -> list[ScheduleRecord]:
        return [record for record in self.own if record.workload == workload]

    def rejected_of(self, workload: str) -> set[str]:
        """Schedules, by trace_id, that made a whole model slower."""
        return {name for other, name in self.rejected if other == workload}


def known_records(folder: Path, key: TargetKey) -> KnownRecords:
    """Read a folder of records; one that is not there has none."""
    if not folder.is_dir():
        return KnownRecords(own=(), others=())
    own: list[ScheduleRecord] = []
    others: list[ScheduleRecord] = []
    rejected: set[tuple[str, str]] = set()
    for record in (line.record for line in read_lines(folder)):
        is_own = record is not None and record.target.fingerprint == key.fingerprint
        if isinstance(record, ScheduleRecord):
            (own if is_own else others).append(record)
        elif isinstance(record, Verdict) and record.trace_id and is_own:
            rejected.add(record.candidate)
    return KnownRecords(own=tuple(own), others=tuple(others), rejected=frozenset(rejected))
