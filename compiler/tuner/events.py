"""What a tuning run tells while it goes on, as plain data; `as_json` is one line of ``--json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from compiler.tuner.search import Origin
from compiler.tuning.record import Outcome, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceTried:
    """Another algorithm or layout of an operator: what the kernels take that it changes."""

    kind: ClassVar[str] = "choice"

    signature: str
    choice: str
    outcome: Outcome
    value: float | None  # of all changed kernels, in the runner's unit
    default: float | None
    operators: int
    is_gain: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """The tasks are known; the first trials begin."""

    kind: ClassVar[str] = "started"

    model: str
    target: str
    fingerprint: str
    threads: int
    tasks: int
    runner: str
    unit: Unit
    conditions: str
    spent_s: float  # by the run that is resumed
    spent_trials: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskStarted:
    """A task's space is known, and what earlier runs found in it."""

    kind: ClassVar[str] = "task"

    kernel: str
    workload: str
    rule: str
    calls: int
    macs: int
    space_size: int
    known_trials: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeded:
    """A task's first candidates after the default come from elsewhere."""

    kind: ClassVar[str] = "seeds"

    kernel: str
    sources: tuple[str, ...]  # where each came from


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEnded:
    """A candidate passed or failed; it is on the disk."""

    kind: ClassVar[str] = "trial"

    kernel: str
    trace_id: str
    record: str  # its id
    origin: Origin
    seed: str  # where a seed came from
    outcome: Outcome
    reason: str
    value: float | None  # median, in the runner's unit
    best: float | None  # of the task, this one included
    default: float | None
    predicted: float | None  # log2 of the speed-up over the default, before it was measured
    trials: int  # of the run so far that passed
    failed: int
    elapsed_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTrained:
    """The cost model has learnt from what was measured so far."""

    kind: ClassVar[str] = "cost-model"

    samples: int
    rank_correlation: float | None  # of predictions made before measuring


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskEnded:
    """The best candidates and the default were measured again, in turns."""

    kind: ClassVar[str] = "task-ended"

    kernel: str
    workload: str
    calls: int
    unit: Unit
    default: float | None  # medians, in turns where there was a choice
    best: float | None
    winner: str  # trace_id; that of the default if nothing is at least 1 % faster
    is_default: bool
    gain: float  # default / best, 1 if the default stays
    trials: int
    failed: int
    best_seed: str  # where the best seed came from
    seed_gain: float | None  # default / best seed, as first measured
    reason: str = ""  # why nothing could be tried


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """The whole model ran with the new records and without."""

    kind: ClassVar[str] = "acceptance"

    accepted: bool
    gain: float | None  # untuned / tuned time of a run
    rejected: tuple[str, ...]  # kernels whose records are used no more
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The run is over."""

    kind: ClassVar[str] = "finished"

    reason: str
    trials: int
    failed: int
    elapsed_s: float
    seconds_per_trial: float | None  # all in
    default: float  # sum over kernels, calls times median, of those measured
    best: float
    rank_correlation: float | None


Event = (
    ChoiceTried
    | Started
    | TaskStarted
    | Seeded
    | TrialEnded
    | ModelTrained
    | TaskEnded
    | Judged
    | Finished
)
Listener = Callable[[Event], None]


def as_json(event: Event) -> dict[str, Any]:
    """Return the event as plain JSON values, its kind first."""
    return {"event": event.kind, **asdict(event)}
