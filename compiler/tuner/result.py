"""What a tuning run came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compiler.tuner.events import Event, Finished, Judged, Started, TaskEnded, TrialEnded


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningResult:
    """Everything that was told while the run went on, in order."""

    records: Path  # the folder that `compile --records` takes
    events: tuple[Event, ...]

    @property
    def started(self) -> Started:
        return next(one for one in self.events if isinstance(one, Started))

    @property
    def finished(self) -> Finished:
        return next(one for one in self.events if isinstance(one, Finished))

    @property
    def trials(self) -> tuple[TrialEnded, ...]:
        return tuple(one for one in self.events if isinstance(one, TrialEnded))

    @property
    def kernels(self) -> tuple[TaskEnded, ...]:
        """What became of each kernel, those first that the model spends most time in."""
        found = [one for one in self.events if isinstance(one, TaskEnded)]
        return tuple(sorted(found, key=lambda one: -(one.default or 0.0) * one.calls))

    @property
    def judged(self) -> Judged | None:
        """How the whole model ran with the records; None if that was not tried."""
        return next((one for one in self.events if isinstance(one, Judged)), None)

    @property
    def gain(self) -> float:
        """How many times faster the kernels are together than by their default schedules."""
        default = sum((one.default or 0.0) * one.calls for one in self.kernels)
        best = sum((one.best or 0.0) * one.calls for one in self.kernels)
        return default / best if best else 1.0
