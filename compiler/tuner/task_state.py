"""What a run knows of one task, and tells about it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial

from compiler.program import CompiledKernel
from compiler.tuner.budget import Progress
from compiler.tuner.events import TaskEnded, TaskStarted, TrialEnded
from compiler.tuner.features import features
from compiler.tuner.finals import FinalResult
from compiler.tuner.search import Proposal, TaskSearch
from compiler.tuner.space import Space
from compiler.tuner.tasks import TaskList, default_schedule
from compiler.tuner.trial import TuningTask
from compiler.tuning.record import ScheduleRecord, Unit

# So many failed candidates in a row end a task.
MOST_FAILURES = 24


@dataclass(kw_only=True)
class TaskState:
    """What a run knows of a task."""

    task: TuningTask
    search: TaskSearch
    progress: Progress
    is_fallback: bool
    not_lowered: dict[str, str] = field(default_factory=dict)
    kernels: dict[str, CompiledKernel] = field(default_factory=dict)  # by trace_id
    in_flight: int = 0
    trials: int = 0  # of this run, that passed
    failed: int = 0
    failed_in_a_row: int = 0
    is_seeded: bool = False
    is_over: bool = False
    best_seed: str = ""
    best_seed_value: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether there may be more to try."""
        return (
            not self.is_over
            and self.search.default is not None
            and not self.search.is_exhausted
            and self.failed_in_a_row < MOST_FAILURES
        )

    def start_event(self, known_trials: int) -> TaskStarted:
        return TaskStarted(
            kernel=self.task.kernel,
            workload=self.task.workload,
            rule=self.search.default_rule,
            calls=self.task.calls,
            macs=self.task.macs,
            space_size=self.search.space.size,
            known_trials=known_trials,
        )

    def trial_event(
        self,
        proposal: Proposal,
        record: ScheduleRecord,
        predicted: float | None,
        *,
        trials: int,
        failed: int,
        elapsed_s: float,
    ) -> TrialEnded:
        best, default = self.search.best, self.search.default
        return TrialEnded(
            kernel=self.task.kernel,
            trace_id=proposal.trace_id,
            record=record.id,
            origin=proposal.origin,
            seed=proposal.seed,
            outcome=record.outcome,
            reason=record.reason,
            value=record.measurement.typical if record.is_usable else None,
            best=best.value if best else None,
            default=default.value if default else None,
            predicted=predicted,
            trials=trials,
            failed=failed,
            elapsed_s=elapsed_s,
        )

    def end_event(self, result: FinalResult | None, unit: Unit, reason: str = "") -> TaskEnded:
        """What came out; of no result, by single readings: the finals did not take place.

        Args:
            reason: why nothing could be tried.
        """
        default, best = self.search.default, self.search.best
        first = default.value if default else None
        lowest = best.value if best else None
        seed_value = self.best_seed_value
        return TaskEnded(
            kernel=self.task.kernel,
            workload=self.task.workload,
            calls=self.task.calls,
            unit=unit,
            default=result.default if result else first,
            best=result.best if result else lowest,
            winner=result.winner.trace_id if result else best.trace_id if best else "",
            is_default=result.is_default if result else best is default,
            gain=result.gain if result else first / lowest if first and lowest else 1.0,
            trials=self.trials,
            failed=self.failed,
            best_seed=self.best_seed,
            seed_gain=first / seed_value if first and seed_value else None,
            reason=reason,
        )


def fresh_state(
    task: TuningTask, found: TaskList, seed: int, not_lowered: dict[str, str] | None = None
) -> TaskState:
    """Return a task that nothing is known of yet but its default schedule.

    Args:
        not_lowered: as of `default_schedule`.
    """
    failures = not_lowered or {}
    default = default_schedule(task, found, failures)
    space = Space(task, default)
    search = TaskSearch(
        task=task,
        space=space,
        default_rule=default.rule,
        row_of=partial(features, space, task=task, facts=found.facts[task.workload]),
        rng=random.Random(f"{seed} {task.workload}"),
    )
    return TaskState(
        task=task,
        search=search,
        progress=Progress(calls=task.calls),
        is_fallback=default.is_fallback,
        not_lowered=failures,
    )
