"""What may be tried for a task: the default schedule with other decisions, and generic ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from compiler.tuner.tasks import DefaultSchedule, TaskList
from compiler.tuner.trial import TuningTask

# TVM's primitives raise RuntimeError (ScheduleError, InternalError) and, for arguments, ValueError.
_DO_NOT_FIT = (RuntimeError, ValueError)

Decision = int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a space: a sketch, and what each of its draws decides."""

    sketch: int
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """Steps with open decisions."""

    schedule: Any  # TVM's
    steps: list[Any]  # of its trace, as JSON
    draws: tuple[Any, ...]  # schedules.draws.Draw
    rule: str  # "" if MetaSchedule made it
    finish: Any = None  # Callable[[Schedule], bool]

    @property
    def default(self) -> tuple[Decision, ...]:
        return tuple(draw.decision for draw in self.draws)


@dataclass(frozen=True, kw_only=True, slots=True)
class Realized:
    """The schedule at a point; `point` is where TVM's repairs of decisions led."""

    point: Point
    trace: list[Any]
    rule: str


class Space:
    """All points of a task. The first sketch is that of the default schedule."""

    def __init__(self, task: TuningTask, default: DefaultSchedule) -> None:
        self._func = task.func
        self._sketches = [_sketch(default.schedule, default.rule)]

    def widen(self, found: TaskList) -> int:
        """Add MetaSchedule's generic space; return how many sketches it has."""
        from schedules.generic import generic_sketches

        lanes = max(1, found.spec.lanes(dtype_bits=32))
        added = [
            _sketch(one.schedule, "", one.finish)
            for one in generic_sketches(self._func, found.target, lanes=lanes)
        ]
        self._sketches += added
        return len(added)

    @property
    def default(self) -> Point:
        """The point of the default schedule."""
        return Point(0, self._sketches[0].default)

    @property
    def size(self) -> int:
        """How many points there are; some may be no schedules, or equal ones."""
        return sum(math.prod(len(draw.choices) for draw in one.draws) for one in self._sketches)

    @property
    def draw_kinds(self) -> tuple[str, ...]:
        """Of the default schedule: what is compared to tell whether spaces are alike."""
        return tuple(draw.kind for draw in self._sketches[0].draws)

    def draws(self, sketch: int) -> tuple[Any, ...]:
        return self._sketches[sketch].draws

    def points(self) -> Iterator[Point]:
        """Yield all points; for small spaces."""
        for number, sketch in enumerate(self._sketches):
            for decisions in product(*(draw.choices for draw in sketch.draws)):
                yield Point(number, decisions)

    def random(self, rng: Random) -> Point:
        number = rng.randrange(len(self._sketches))
        draws = self._sketches[number].draws
        return Point(number, tuple(rng.choice(draw.choices) for draw in draws))

    def mutated(self, point: Point, rng: Random) -> Point:
        """Return a neighbour: one decision differs, more often by a little than by much."""
        draws = self._sketches[point.sketch].draws
        if not draws:
            return self.random(rng)
        position = rng.randrange(len(draws))
        decisions = list(point.decisions)
        decisions[position] = _other(draws[position].choices, decisions[position], rng)
        return Point(point.sketch, tuple(decisions))

    def crossed(self, one: Point, other: Point, rng: Random) -> Point:
        """Return a child of two points of a sketch: each decision from either parent."""
        if one.sketch != other.sketch:
            return self.mutated(one, rng)
        pairs = zip(one.decisions, other.decisions, strict=True)
        return Point(one.sketch, tuple(rng.choice(pair) for pair in pairs))

    def realized(self, point: Point) -> Realized | None:
        """Return the schedule at a point; None where its steps do not fit these decisions."""
        from compiler.scheduling import trace_json
        from schedules.draws import with_decisions

        sketch = self._sketches[point.sketch]
        pairs = zip(sketch.draws, point.decisions, strict=True)
        # A repaired decision may be none of the choices: TVM repairs it again.
        wanted = {draw.step: made for draw, made in pairs if made in draw.choices}
        try:
            schedule = with_decisions(self._func, sketch.schedule, wanted)
            if sketch.finish is not None and not sketch.finish(schedule):
                return None
        except _DO_NOT_FIT:
            return None
        trace = trace_json(schedule)
        decisions = _decisions_at(trace, sketch)
        made = Point(point.sketch, decisions)
        return Realized(point=made, trace=trace, rule=sketch.rule)

    def point_of(self, trace: list[Any]) -> Point | None:
        """Return where a trace lies; None if it has other steps than all sketches."""
        for number, sketch in enumerate(self._sketches):
            if trace[0][: len(sketch.steps)] == sketch.steps:
                return Point(number, _decisions_at(trace, sketch))
        return None


def _sketch(schedule: Any, rule: str, finish: Any = None) -> Sketch:
    from compiler.scheduling import trace_json
    from schedules.draws import draws

    return Sketch(
        schedule=schedule,
        steps=trace_json(schedule)[0],
        draws=draws(schedule),
        rule=rule,
        finish=finish,
    )


def _decisions_at(trace: list[Any], sketch: Sketch) -> tuple[Decision, ...]:
    made = dict(map(tuple, trace[1]))
    return tuple(_plain(made.get(draw.step, draw.decision)) for draw in sketch.draws)


def _plain(decision: Any) -> Decision:
    return tuple(decision) if isinstance(decision, list) else decision


def _other(choices: Sequence[Decision], current: Decision, rng: Random) -> Decision:
    """Another choice; half of the time one of the two beside the current one."""
    if current in choices and rng.random() < 0.5:
        position = choices.index(current) + rng.choice((-1, 1))
        if 0 <= position < len(choices):
            return choices[position]
    return rng.choice([choice for choice in choices if choice != current] or [current])
