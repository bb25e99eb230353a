"""The search of one task: which candidates to try next, and what is known of those tried."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from compiler.tuner.cost_model import CostModel
from compiler.tuner.space import Point, Realized, Space
from compiler.tuner.trial import Candidate, TuningTask
from compiler.tuning.record import ScheduleRecord, Unit, trace_id

Origin = Literal["default", "seed", "model", "random"]

BATCH = 4
_EPSILON = 0.2  # the share of a batch that the model has no say in: it learns from them
# A space of so few points is looked at whole instead of bred.
_WHOLE = 512
_POPULATION = 64
_GENERATIONS = 3
_PARENTS = 16
# How often in a row a point may turn out to be known, or no schedule, before the space counts as
# exhausted.
_PATIENCE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A candidate to try, and what led to it."""

    candidate: Candidate
    trace_id: str
    origin: Origin
    point: Point | None
    row: np.ndarray | None  # its features
    seed: str = ""  # of a seed: where it came from


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A candidate that passed, and the median of what was measured."""

    trace: list[Any]
    trace_id: str
    rule: str
    value: float
    point: Point | None


@dataclass(kw_only=True)
class TaskSearch:
    """What is known of a task's candidates. It proposes; others build and measure."""

    task: TuningTask
    space: Space
    default_rule: str
    row_of: Callable[[Point], np.ndarray]
    rng: random.Random
    seeds: list[tuple[Realized, str]] = field(default_factory=list)
    passed: dict[str, Tried] = field(default_factory=dict)  # by trace_id
    failed: set[str] = field(default_factory=set)
    default_id: str = ""
    proposed: set[str] = field(default_factory=set)  # trace ids, those tried before included
    visited: set[Point] = field(default_factory=set)  # points that led to a proposal, or to none
    is_exhausted: bool = False

    def default_proposal(self) -> Proposal:
        """Return the default schedule: the first candidate of every task."""
        realized = self.space.realized(self.space.default)
        assert realized is not None, self.task.kernel  # it is the schedule that was replayed
        self.default_id = trace_id(realized.trace)
        return self._proposal(realized, self.default_id, "default")

    def know(self, records: Iterable[ScheduleRecord], unit: Unit) -> int:
        """Take what earlier runs found of this workload; return how many passed.

        What failed is never tried again; what was measured in another unit is tried anew.
        """
        for record in records:
            name = record.trace_id
            if record.outcome != "passed":
                self._know(name, record.trace)
                self.failed.add(name)
                self.passed.pop(name, None)
            elif record.is_usable and record.measurement.unit == unit and name not in self.failed:
                point = self._know(name, record.trace)
                value = record.measurement.typical
                if name not in self.passed or value < self.passed[name].value:
                    tried = Tried(
                        trace=record.trace,
                        trace_id=name,
                        rule=record.rule,
                        value=value,
                        point=point,
                    )
                    self.passed[name] = tried
        return len(self.passed)

    def locate(self) -> None:
        """Find the points of what is known again: the space has grown."""
        for name, tried in self.passed.items():
            if tried.point is None:
                self.passed[name] = replace(tried, point=self._know(name, tried.trace))

    def reject(self, names: Iterable[str]) -> None:
        """Take it that no build uses these schedules, however fast they were measured."""
        for name in names:
            self.proposed.add(name)
            self.failed.add(name)
            if name != self.default_id:
                self.passed.pop(name, None)

    def _know(self, name: str, trace: list[Any]) -> Point | None:
        self.proposed.add(name)
        point = self.space.point_of(trace)
        if point is not None:
            self.visited.add(point)
        return point

    @property
    def default(self) -> Tried | None:
        return self.passed.get(self.default_id)

    @property
    def best(self) -> Tried | None:
        return min(self.passed.values(), key=lambda one: (one.value, one.trace_id), default=None)

    @property
    def untried_share(self) -> float:
        if self.is_exhausted:
            return 0.0
        return max(0.0, 1.0 - len(self.proposed) / max(1, self.space.size))

    def prospect(self, model: CostModel) -> float:
        """Return how likely a look at the best untried point finds something faster, times two.

        1 where the model expects the best one to be as fast as the best known, or knows too
        little to say; its predictions are taken to be off as they were before.
        """
        error, best = model.error, self.best
        if error is None or best is None or self.default is None:
            return 1.0
        points = self._sampled()
        if not points:
            return 0.0
        promised = float(model.predict([self.row_of(point) for point in points]).max())
        lead = (promised - speed_up(self.default.value, best.value)) / error
        return min(1.0, math.erfc(-lead / math.sqrt(2)))

    def _sampled(self) -> list[Point]:
        """Untried points: all of a small space, of a large one those beside the best and others."""
        if self.space.size <= _WHOLE:
            return [point for point in self.space.points() if point not in self.visited]
        found = [self.space.random(self.rng) for _ in range(_POPULATION)]
        best = self.best
        if best is not None and best.point is not None:
            found += [self.space.mutated(best.point, self.rng) for _ in range(_POPULATION)]
        return [point for point in found if point not in self.visited]

    def finish(self, proposal: Proposal, value: float | None) -> None:
        """Take how a proposal went; None: it failed."""
        if value is None:
            self.failed.add(proposal.trace_id)
            return
        self.passed[proposal.trace_id] = Tried(
            trace=proposal.candidate.trace,
            trace_id=proposal.trace_id,
            rule=proposal.candidate.rule,
            value=value,
            point=proposal.point,
        )

    def propose(self, model: CostModel, count: int = BATCH) -> list[Proposal]:
        """Return up to `count` new candidates, best prospects first; none: nothing is left.

        Seeds come first, then what the model thinks best, and a share by chance.
        """
        batch: list[Proposal] = []
        while self.seeds and len(batch) < count:
            realized, where = self.seeds.pop(0)
            batch += self._new(realized, "seed", where)
        by_chance = sum(self.rng.random() < _EPSILON for _ in range(count - len(batch)))
        if len(batch) < count - by_chance:
            batch += self._take(self._ranked(model), count - by_chance - len(batch), model)
        if len(batch) < count:
            batch += self._take(self._by_chance(), count - len(batch), None)
        self.is_exhausted = not batch
        return batch

    def _take(self, points: Iterable[Point], count: int, model: CostModel | None) -> list[Proposal]:
        origin: Origin = "model" if model is not None and model.is_useful else "random"
        taken: list[Proposal] = []
        misses = 0
        for point in points:
            if len(taken) >= count or misses > _PATIENCE:
                break
            self.visited.add(point)
            realized = self.space.realized(point)
            new = self._new(realized, origin) if realized is not None else []
            misses = 0 if new else misses + 1
            taken += new
        return taken

    def _new(self, realized: Realized, origin: Origin, seed: str = "") -> list[Proposal]:
        self.visited.add(realized.point)
        name = trace_id(realized.trace)
        if name in self.proposed:
            return []
        return [self._proposal(realized, name, origin, seed)]

    def _proposal(self, realized: Realized, name: str, origin: Origin, seed: str = "") -> Proposal:
        self.proposed.add(name)
        self.visited.add(realized.point)
        candidate = Candidate(task=self.task, trace=realized.trace, rule=realized.rule)
        return Proposal(
            candidate=candidate,
            trace_id=name,
            origin=origin,
            point=realized.point,
            row=self.row_of(realized.point),
            seed=seed,
        )

    def _by_chance(self) -> Iterable[Point]:
        """Untried points in random order; of a large space without end."""
        if self.space.size <= _WHOLE:
            points = self._sampled()
            self.rng.shuffle(points)
            yield from points
            return
        for _ in range(_PATIENCE * BATCH):
            point = self.space.random(self.rng)
            if point not in self.visited:
                yield point

    def _ranked(self, model: CostModel) -> Sequence[Point]:
        """Untried points, those that the model thinks best first."""
        if not model.is_useful:
            return list(self._nearby())
        if self.space.size <= _WHOLE:
            return self._by_score(self._sampled(), model)
        return self._bred(model)

    def _nearby(self) -> Iterable[Point]:
        """Without a model: neighbours of the best, then anything."""
        best = self.best
        if best is not None and best.point is not None:
            for _ in range(_POPULATION // 2):
                point = self.space.mutated(best.point, self.rng)
                if point not in self.visited:
                    yield point
        yield from self._by_chance()

    def _bred(self, model: CostModel) -> list[Point]:
        """A few generations from the best known and from chance; the fittest breed."""
        space, rng = self.space, self.rng
        known = sorted(self.passed.values(), key=lambda one: one.value)[:_PARENTS]
        people = [one.point for one in known if one.point is not None]
        people += [space.random(rng) for _ in range(_POPULATION)]
        met: dict[Point, None] = dict.fromkeys(people)
        for _ in range(_GENERATIONS):
            parents = self._by_score(list(people), model)[:_PARENTS]
            people = list(parents)
            for _ in range(_POPULATION):
                one, other = rng.choice(parents), rng.choice(parents)
                child = space.crossed(one, other, rng) if rng.random() < 0.5 else one
                people.append(space.mutated(child, rng))
            met.update(dict.fromkeys(people))
        return self._by_score([point for point in met if point not in self.visited], model)

    def _by_score(self, points: list[Point], model: CostModel) -> list[Point]:
        scores = model.predict([self.row_of(point) for point in points])
        order = sorted(range(len(points)), key=lambda number: -scores[number])
        return [points[number] for number in order]


def speed_up(default: float, value: float) -> float:
    """Return log2 of how many times faster than the default a value is."""
    return math.log2(default / value)
