"""The last word on records: the whole model with them must fit, be right, and not be slower.

Kernels are measured one by one, again and again; in a model each finds the caches as others leave
them, and code and scratch of all share memory. So the model is built with the records and without,
both run in turns, and what makes it slower, wrong or too large is rejected. So is what makes its
kernel no faster in the model, where the time of each one can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.target_spec import Precision, TargetSpec
from compiler.tuner.model_builds import Builds, NotComparedError, Report, Trial, Usable
from compiler.tuner.model_process import ModelProcess
from compiler.tuner.run_times import RunTimes
from compiler.tuning.folder import read_lines
from compiler.tuning.record import Record, ScheduleRecord, Verdict
from compiler.tuning.store import best_choices, best_schedules
from compiler.tuning.target_key import TargetKey, target_key

# Builds without the kernels to blame, each of which may bring the next best records into the model.
_MOST_CORRECTIONS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A record that builds must not use, and why."""

    record: Usable
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What became of a model's records."""

    accepted: tuple[Usable, ...]  # what a build uses from now on
    rejected: tuple[Rejection, ...]
    times: RunTimes | None  # without and with what is accepted; None: nothing was compared
    reason: str  # for reading: what was compared, or why nothing could be

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The records by which builds know what is rejected."""
        return tuple(_verdict(rejection) for rejection in self.rejected)


def accept(
    model: str | Path | Model,
    spec: TargetSpec,
    folder: Path,
    *,
    threads: int | None = None,
    exact: bool = False,
    precision: Precision = "float32",
    deadline_s: float | None = None,
    report: Report = lambda _: None,
) -> Acceptance:
    """Judge the records in `folder` that a build of `model` would use; write nothing.

    With `Acceptance.verdicts` in the folder a build uses exactly what was accepted, and that was
    built, compared with onnxruntime, held to the target's limits, and in turns with a build without
    records was no slower, by the median of several openings of both. Where the target's runner only
    counts, its instructions are no more.

    What is to blame is found by the time of each kernel in the model, where this machine runs it;
    else, and where that does not suffice, by building the model with parts of the records.

    Args:
        spec: as given to `compile`, with its limits and its own number of cores.
        threads, exact, precision: as of `compile`.
        deadline_s: from now. A build with the records and one without those to blame are made in
            any case; what could not be shown to be good in time is rejected.
        report: called with the name of each step.

    Without records the model may exceed the limits; then what fits is accepted. If it cannot be
    verified by inputs that are drawn, it is not with records either.

    Raises:
        CompilerError: the model cannot be built at all.
    """
    if not isinstance(model, Model):
        model = load_model(Path(model), shapes={}, values={})
    key = target_key(spec, threads)
    known = _known(folder, key)
    deadline = None if deadline_s is None else monotonic() + deadline_s
    with TemporaryDirectory(prefix="tunesmith-acceptance-") as work, ModelProcess(model) as process:
        builds = Builds(model, spec, key, exact, precision, Path(work), process, report)
        return _Judge(builds, known, deadline).judged()


def _known(folder: Path, key: TargetKey) -> list[Record]:
    lines = read_lines(folder, fingerprint=key.fingerprint)
    return [line.record for line in lines if line.record is not None]


def _verdict(rejection: Rejection) -> Verdict:
    record, reason = rejection.record, rejection.reason
    if isinstance(record, ScheduleRecord):
        return Verdict(
            target=record.target,
            workload=record.workload,
            trace_id=record.trace_id,
            reason=reason,
        )
    return Verdict(
        target=record.target, signature=record.signature, choice=record.choice, reason=reason
    )


class _Judge:
    """Rejects records until the model with the rest has no problem."""

    def __init__(self, builds: Builds, known: Sequence[Record], deadline: float | None) -> None:
        self._builds, self._known, self._deadline = builds, known, deadline
        self._defaults = {
            one.candidate for one in known if isinstance(one, ScheduleRecord) and one.is_reference
        }
        self._rejected: dict[tuple[str, str], Rejection] = {}  # by candidate
        self._longest_s = 0.0  # of a trial

    def judged(self) -> Acceptance:
        try:
            return self._judged()
        except NotComparedError as refusal:
            return self._acceptance(self._usable(), None, f"nothing was compared: {refusal}")

    def _judged(self) -> Acceptance:
        records = self._usable()
        if not records:
            return self._acceptance((), None, "there are no records that a build would use")
        for corrections in range(1 + _MOST_CORRECTIONS):
            if corrections > 1 and self._time_is_up():
                break
            trial = self._trial(records)
            if not trial.problem:
                return self._with_gain(records, trial)
            blamed = dict(trial.to_blame)
            for record in records:
                if record.id in blamed:
                    self._reject(record, blamed[record.id])
            records = self._usable()
            if not blamed or not records:
                break
        return self._halved(records, trial)

    def _with_gain(self, records: Sequence[Usable], trial: Trial) -> Acceptance:
        """Accept, of records that are good together, those whose kernels are faster in the model.

        A kernel that is as fast as by default is no reason to build another one: it may well be the
        slower one tomorrow.
        """
        needless = self._builds.without_gain(trial)
        if not needless or self._time_is_up():
            return self._good(records, trial)
        before = dict(self._rejected)
        for record in records:
            if record.id in needless:
                self._reject_workload(record, needless[record.id])
        rest = self._usable()
        if not rest:
            return self._acceptance((), None, "no record makes its kernel faster in the model")
        again = self._trial(rest)
        if not again.problem:
            return self._good(rest, again)
        self._rejected = before  # the rest needs what seemed needless, in memory perhaps
        return self._good(records, trial)

    def _halved(self, records: Sequence[Usable], last: Trial) -> Acceptance:
        """Accept as many records as can be found to be good together, by trying parts of them.

        Records of kernels that other models have are not to blame: they stay as they are.
        """
        names = _used(records, last)
        suspects = [record for record in records if record.candidate[0] in names]
        good = [record for record in records if record.candidate[0] not in names]
        found: Trial | None = None
        parts = _halves(suspects)
        while parts:
            part = parts.pop(0)
            if self._time_is_up():
                for record in part:
                    self._reject_workload(record, "not shown to be good before the time was up")
                continue
            trial = self._trial([*good, *part])
            if not trial.problem:
                good, found = [*good, *part], trial
            elif len(part) == 1:
                self._reject_workload(part[0], f"with it {trial.problem}")
            else:
                parts = [*_halves(part), *parts]
        if found is None:
            return self._acceptance((), None, f"all records are rejected: {last.problem}")
        return self._good(good, found)

    def _good(self, records: Sequence[Usable], trial: Trial) -> Acceptance:
        times = trial.times
        if times is None:
            return self._acceptance(records, None, "the limits do not admit the model without them")
        what = "instructions" if times.unit == "instructions" else "us"
        reason = f"{times.new:,.0f} {what} a run, {times.old:,.0f} without records"
        return self._acceptance(records, times, reason)

    def _acceptance(
        self, records: Sequence[Usable], times: RunTimes | None, reason: str
    ) -> Acceptance:
        return Acceptance(
            accepted=tuple(records),
            rejected=tuple(self._rejected.values()),
            times=times,
            reason=reason,
        )

    def _trial(self, records: Sequence[Usable]) -> Trial:
        start = monotonic()
        trial = self._builds.trial(records)
        self._longest_s = max(self._longest_s, monotonic() - start)
        return trial

    def _time_is_up(self) -> bool:
        """Whether one more trial would end too late."""
        return self._deadline is not None and monotonic() + self._longest_s > self._deadline

    def _usable(self) -> list[Usable]:
        """What a build would use: the best records of what is not rejected."""
        verdicts = [_verdict(rejection) for rejection in self._rejected.values()]
        known = [*self._known, *verdicts]
        return [*best_choices(known).values(), *best_schedules(known).values()]

    def _reject(self, record: Usable, reason: str) -> None:
        self._rejected.setdefault(record.candidate, Rejection(record=record, reason=reason))

    def _reject_workload(self, record: Usable, reason: str) -> None:
        """Reject a record, and all others that a build would use in its place.

        Those of the default schedule stay: it is what is built without records.
        """
        self._reject(record, reason)
        for other in self._known:
            if isinstance(other, Verdict) or not other.is_usable:
                continue
            if other.candidate in self._defaults:
                continue
            if type(other) is type(record) and other.candidate[0] == record.candidate[0]:
                self._reject(other, reason)


def _used(records: Sequence[Usable], trial: Trial) -> set[str]:
    """Workloads and signatures that a build had records for; all if it could not be made."""
    used = trial.used
    return {record.candidate[0] for record in records if used is None or record.id in used}


def _halves(records: Sequence[Usable]) -> list[list[Usable]]:
    middle = len(records) // 2
    return [list(part) for part in (records[:middle], records[middle:]) if part]
