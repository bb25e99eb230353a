"""One tuning run: which candidate next, what was learnt from the last one, and when to end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compiler.errors import NotRunnableError
from compiler.tuner.budget import next_task
from compiler.tuner.cost_model import CostModel, Sample
from compiler.tuner.events import (
    Finished,
    Listener,
    ModelTrained,
    Seeded,
)
from compiler.tuner.finals import FINALISTS, FinalResult
from compiler.tuner.run_state import NOTHING_SPENT, Spent
from compiler.tuner.search import BATCH, Proposal, speed_up
from compiler.tuner.task_state import TaskState, fresh_state
from compiler.tuner.tasks import TaskList
from compiler.tuner.transfer import Source, seed
from compiler.tuner.trial import TuningTask
from compiler.tuner.trial_line import Broken, FinalEnded, NoDataError, TrialLine, TrialResult
from compiler.tuner.trial_log import KnownRecords
from compiler.tuning.record import Unit
from compiler.tuning.store import best_schedules

# Kernels that no rule takes get MetaSchedule's space where they are that share of the model.
_WIDENED_SHARE = 0.01
# Of a limit in time, the most that is kept back for measuring the best ones again.
_MOST_FOR_FINALS = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """When a run ends, and what it draws by."""

    seconds: float | None = None  # of all resumptions together
    trials: int | None = None  # that passed
    stop_gain: float = 0.005  # share of the model's time
    seed: int = 0
    depth: int = 4  # candidates in flight: being built, waiting, being measured
    spent: Spent = NOTHING_SPENT  # by the run that is resumed
    began: float | None = None  # by the clock; now if None


class TuningSession:
    """Tunes the tasks of one model with one runner."""

    def __init__(
        self,
        found: TaskList,
        line: TrialLine,
        known: KnownRecords,
        sources: Sequence[Source],
        model: CostModel,
        *,
        unit: Unit,
        options: SessionOptions,
        listener: Listener,
        stop: threading.Event,
        keep_spent: Callable[[Spent], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found, self._line, self._known, self._sources = found, line, known, sources
        self._model, self._unit, self._options, self._tell = model, unit, options, listener
        self._keep_spent, self._clock = keep_spent, clock
        self._began = clock() if options.began is None else options.began
        self._waiting = deque(found.tasks)  # not looked at yet
        self._tasks: dict[str, TaskState] = {}
        self._batch: deque[tuple[TaskState, Proposal]] = deque()
        self._learns_known = not model.is_useful  # else it has learnt from these records
        self._untrained = 0
        self._trials = self._failed = 0
        self._measuring_s = 0.0
        self._stopped = stop
        self._reason = "nothing is left to try"
        self._broken: BaseException | None = None

    def run(self) -> Finished:
        """Tune until time, trials or prospects are used up.

        Raises:
            NotRunnableError: nothing can be measured any more, and nothing was.
        """
        self._search()
        if not self._stopped.is_set() and self._broken is None:
            self._finals()
        self._train()
        self._model.save()
        if self._broken is not None and self._trials == 0:
            raise self._broken
        for one in self._tasks.values():
            if not one.is_over:
                self._end(one, None)
        return self._finished()

    def _search(self) -> None:
        """Keep builder and runner at work until there is nothing more to start."""
        while True:
            while self._line.in_flight < self._options.depth:
                found = self._next() if self._may_go_on() else None
                if found is None:
                    break
                self._start(*found)
            if self._line.in_flight == 0:
                return
            self._take()

    def _may_go_on(self) -> bool:
        options = self._options
        if self._stopped.is_set():
            self._reason = "stopped"
        elif self._broken is not None:
            self._reason = str(self._broken).splitlines()[0]
        elif options.trials is not None and self._spent.trials >= options.trials:
            self._reason = "all trials are used"
        elif options.trials is not None and (
            self._spent.trials + self._line.in_flight >= options.trials
        ):
            return False  # what is in flight may use up the last ones
        elif options.seconds is not None and self._seconds_left() < self._time_of_finals():
            self._reason = "the time is used"
        else:
            return True
        return False

    def _next(self) -> tuple[TaskState, Proposal] | None:
        """The next candidate; None if there is none before something in flight has ended."""
        while self._waiting:
            one = self._opened(self._waiting.popleft())
            if one.search.default is None:
                return one, one.search.default_proposal()
        while not self._batch:
            chosen = self._chosen()
            if chosen is None:
                return None
            self._prepare(chosen)
            proposals = chosen.search.propose(self._model, self._batch_size())
            self._batch += [(chosen, proposal) for proposal in proposals]
            if not proposals:
                self._maybe_final(chosen)
        return self._batch.popleft()

    def _batch_size(self) -> int:
        limit = self._options.trials
        if limit is None:
            return BATCH
        return max(1, min(BATCH, limit - self._spent.trials - self._line.in_flight))

    def _opened(self, task: TuningTask) -> TaskState:
        """Look at a task for the first time: its default schedule, and what is known of it."""
        one = fresh_state(task, self._found, self._options.seed)
        search = one.search
        search.default_proposal()
        known = self._known.of(task.workload)
        count = search.know(known, self._unit)
        search.reject(self._known.rejected_of(task.workload))
        if search.default is not None and search.best is not None:
            one.progress.start(search.default.value, search.best.value, count)
            if self._learns_known:
                self._learn_known(one)
        self._tasks[task.workload] = one
        self._tell(one.start_event(count))
        return one

    def _learn_known(self, one: TaskState) -> None:
        default = one.search.default
        assert default is not None
        for tried in one.search.passed.values():
            if tried.point is not None:
                row = one.search.row_of(tried.point)
                self._model.add(Sample(row=row, speed=speed_up(default.value, tried.value)))
                self._untrained += 1

    def _chosen(self) -> TaskState | None:
        """The task where the next trials gain most; None if all gain too little."""
        if any(
            one.search.default is None and one.in_flight and not one.is_over
            for one in self._tasks.values()
        ):
            return None  # what share each task has is not known yet
        tasks = [one for one in self._tasks.values() if one.search.default is not None]
        gains = [self._expected_gain(one) for one in tasks]
        total = sum(one.progress.time for one in tasks)
        number = next_task(gains, total, self._options.stop_gain)
        if number is None and any(gains):
            share = self._options.stop_gain
            self._reason = f"less than {share:.1%} is expected to be gained"
        return None if number is None else tasks[number]

    def _expected_gain(self, one: TaskState) -> float:
        if not one.is_open:
            return 0.0
        prospect = 1.0 if one.search.seeds else one.search.prospect(self._model)
        return one.progress.expected_gain(one.search.untried_share, prospect)

    def _prepare(self, one: TaskState) -> None:
        """Before a task's first batch: the generic space where it needs one, and seeds."""
        if one.is_seeded:
            return
        one.is_seeded = True
        total = sum(other.progress.time for other in self._tasks.values())
        if one.is_fallback and one.progress.time >= _WIDENED_SHARE * total:
            one.search.space.widen(self._found)
            one.search.locate()
        others = [other.search for other in self._tasks.values() if other is not one]
        seed(one.search, self._sources, siblings=others)
        if one.search.seeds:
            places = tuple(place for _, place in one.search.seeds)
            self._tell(Seeded(kernel=one.task.kernel, sources=places))

    def _start(self, one: TaskState, proposal: Proposal) -> None:
        one.in_flight += 1
        self._line.start(proposal)

    def _take(self) -> None:
        """Wait for something to end, and learn from it."""
        ended = self._line.get()
        if isinstance(ended, Broken):
            self._take_broken(ended)
        elif isinstance(ended, FinalEnded):
            self._end(self._tasks[ended.task.workload], ended.result)
        else:
            self._take_trial(self._tasks[ended.proposal.candidate.task.workload], ended)

    def _take_broken(self, ended: Broken) -> None:
        one = self._tasks[ended.task.workload]
        one.in_flight = max(0, one.in_flight - 1)
        if isinstance(ended.error, NoDataError):
            self._give_up(one, str(ended.error))
        elif isinstance(ended.error, NotRunnableError):
            self._broken = ended.error
        elif not isinstance(ended.error, InterruptedError):
            raise ended.error

    def _give_up(self, one: TaskState, reason: str) -> None:
        """Nothing of a task can be checked: it keeps its default."""
        if not one.is_over:
            self._end(one, None, reason)

    def _take_trial(self, one: TaskState, ended: TrialResult) -> None:
        proposal, record = ended.proposal, ended.record
        one.in_flight -= 1
        self._measuring_s += ended.measuring_s
        predicted = None
        if proposal.row is not None and self._model.is_useful:
            predicted = float(self._model.predict([proposal.row])[0])
        passed = record.is_usable
        one.search.finish(proposal, record.measurement.typical if passed else None)
        if passed:
            self._take_passed(one, ended)
        else:
            self._failed += 1
            one.failed += 1
            one.failed_in_a_row += 1
            one.progress.failed += 1
        self._keep_spent(self._spent)
        self._tell(
            one.trial_event(
                proposal,
                record,
                predicted,
                trials=self._trials,
                failed=self._failed,
                elapsed_s=self._clock() - self._began,
            )
        )
        if not passed and proposal.origin == "default" and record.outcome == "not-built":
            self._without_rule(one, record.reason)
        self._maybe_final(one)

    def _take_passed(self, one: TaskState, ended: TrialResult) -> None:
        proposal, value = ended.proposal, ended.record.measurement.typical
        self._trials += 1
        one.trials += 1
        one.failed_in_a_row = 0
        one.progress.add(value)
        if ended.kernel is not None:
            one.kernels[proposal.trace_id] = ended.kernel
        better_seed = one.best_seed_value is None or value < one.best_seed_value
        if proposal.origin == "seed" and better_seed:
            one.best_seed, one.best_seed_value = proposal.seed, value
        default = one.search.default
        if proposal.row is not None and default is not None:
            self._model.add(Sample(row=proposal.row, speed=speed_up(default.value, value)))
            self._untrained += 1
        if self._untrained >= BATCH:
            self._train()

    def _train(self) -> None:
        if self._untrained:
            self._untrained = 0
            self._model.train()
            self._tell(
                ModelTrained(
                    samples=self._model.sample_count,
                    rank_correlation=self._model.rank_correlation,
                )
            )

    def _without_rule(self, one: TaskState, reason: str) -> None:
        """The default cannot be built: as `compile` does, take the next rule's schedule."""
        rule = one.search.default_rule
        if rule in one.not_lowered or one.is_fallback:
            return
        again = fresh_state(
            one.task, self._found, self._options.seed, {**one.not_lowered, rule: reason}
        )
        again.failed = one.failed
        self._tasks[one.task.workload] = again
        self._start(again, again.search.default_proposal())

    def _maybe_final(self, one: TaskState) -> None:
        """Once nothing of a task is left to try, give it its last word."""
        waits = any(other is one for other, _ in self._batch)
        if one.search.default is None or one.in_flight or waits or one.is_over or one.is_open:
            return
        self._final(one)

    def _final(self, one: TaskState) -> None:
        one.is_over = True
        if one.trials == 0 and (known := self._known_final(one)):
            self._end(one, known)
        elif len(one.search.passed) > 1:
            self._line.start_final(one.search, one.kernels)
        else:
            self._end(one, None)

    def _finals(self) -> None:
        for one in self._tasks.values():
            if not one.is_over and one.search.default is not None:
                self._final(one)
        while self._line.in_flight:
            self._take()

    def _known_final(self, one: TaskState) -> FinalResult | None:
        """What an earlier run measured in turns, if this one found nothing new."""
        record = best_schedules(self._known.of(one.task.workload)).get(one.task.workload)
        if record is None or record.measurement.reference is None:
            return None
        winner = one.search.passed.get(record.trace_id)
        if winner is None:
            return None
        return FinalResult(
            winner=winner,
            is_default=winner.trace_id == one.search.default_id,
            default=record.measurement.reference,
            best=record.measurement.typical,
            in_turns=True,
        )

    def _end(self, one: TaskState, result: FinalResult | None, reason: str = "") -> None:
        one.is_over = True
        one.kernels.clear()
        self._line.forget(one.task)
        if result is not None:
            one.progress.best = [result.default, result.best]
        self._tell(one.end_event(result, self._unit, reason))

    @property
    def _spent(self) -> Spent:
        before = self._options.spent
        return Spent(
            seconds=before.seconds + self._clock() - self._began,
            trials=before.trials + self._trials,
            failed=before.failed + self._failed,
        )

    def _seconds_left(self) -> float:
        assert self._options.seconds is not None
        return self._options.seconds - self._spent.seconds

    def _time_of_finals(self) -> float:
        """What it will take to measure the best of each task again."""
        assert self._options.seconds is not None
        tasks = sum(not one.is_over and len(one.search.passed) > 1 for one in self._tasks.values())
        each = self._measuring_s / max(1, self._trials) * (FINALISTS + 1)
        return min(tasks * each, _MOST_FOR_FINALS * self._options.seconds)

    def _finished(self) -> Finished:
        elapsed = self._clock() - self._began
        progress = [one.progress for one in self._tasks.values()]
        return Finished(
            reason=self._reason,
            trials=self._trials,
            failed=self._failed,
            elapsed_s=elapsed,
            seconds_per_trial=elapsed / self._trials if self._trials else None,
            default=sum(one.default_time for one in progress),
            best=sum(one.time for one in progress),
            rank_correlation=self._model.rank_correlation,
        )
