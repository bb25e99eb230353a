"""What a rule left open: the sampling calls of a schedule, and the schedule with other decisions.

A rule draws its tile sizes from the schedule's sampling calls, by default what it computed from the
spec. The trace of its schedule then holds every step and every decision, so that a search needs
nothing of the rule: it changes decisions and replays the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import s_tir
from tvm.s_tir.schedule import Instruction, Trace
from tvm.tirx import PrimFunc

CATEGORICAL = "SampleCategorical"
PERFECT_TILE = "SamplePerfectTile"
COMPUTE_LOCATION = "SampleComputeLocation"  # of MetaSchedule's rules only
# Inlined, at the root, or at one of the loops; which there are depends on decisions before. TVM
# takes the nearest place that there is.
LOCATIONS = tuple(range(-2, 9))

Decision = int | tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One sampling call: what it decided, and all that it might have decided."""

    step: int  # its number among the steps of the trace
    kind: str
    # The position of a candidate, the factors of a loop, outer first, or a place (`LOCATIONS`).
    decision: Decision
    choices: tuple[Decision, ...]
    values: tuple[Any, ...]  # what each choice stands for: the candidates, or the factors

    @property
    def value(self) -> Any:
        return self.values[self.choices.index(self.decision)]


def draws(schedule: s_tir.Schedule) -> tuple[Draw, ...]:
    """Return the sampling calls of a schedule, in order; those with one choice are left out."""
    trace = schedule.trace
    found = []
    for number, step in enumerate(trace.insts):
        draw = _draw(number, step, trace.decisions.get(step))
        if draw is not None and len(draw.choices) > 1:
            found.append(draw)
    return tuple(found)


def with_decisions(
    func: PrimFunc,
    schedule: s_tir.Schedule,
    decisions: Mapping[int, Decision],
    *,
    seed: int = 1,
) -> s_tir.Schedule:
    """Return the schedule of `func` by the same steps, with other decisions at some of them.

    Args:
        schedule: of the same function.
        decisions: by the number of a step (`Draw.step`), one of its choices.
        seed: of what is drawn anew, where a decision does not fit those before it.

    Raises:
        RuntimeError: the steps do not fit these decisions; there is no such candidate.
    """
    known = {draw.step: draw for draw in draws(schedule)}
    trace: Trace = schedule.trace
    for number, decision in decisions.items():
        assert decision in known[number].choices, (number, decision)
        plain = list(decision) if isinstance(decision, tuple) else decision
        trace = trace.with_decision(trace.insts[number], plain, False)
    changed = s_tir.Schedule(func, seed=seed)
    trace.apply_to_schedule(changed, remove_postproc=False)
    return changed


def _draw(number: int, step: Instruction, decision: Any) -> Draw | None:
    if step.kind.name == CATEGORICAL:
        candidates = tuple(int(value) for value in step.attrs[0])
        choices: tuple[Decision, ...] = tuple(range(len(candidates)))
        position = int(decision)
        return Draw(
            step=number, kind=CATEGORICAL, decision=position, choices=choices, values=candidates
        )
    if step.kind.name == PERFECT_TILE:
        factors = tuple(int(factor) for factor in decision)
        count, most = (int(value) for value in step.attrs[:2])
        tiles = tuple(
            tile
            for tile in _factorizations(prod(factors), count)
            if tile[-1] <= max(most, factors[-1])
        )
        return Draw(step=number, kind=PERFECT_TILE, decision=factors, choices=tiles, values=tiles)
    if step.kind.name == COMPUTE_LOCATION:
        place = int(decision)
        choices = tuple(sorted({*LOCATIONS, place}))
        return Draw(
            step=number, kind=COMPUTE_LOCATION, decision=place, choices=choices, values=choices
        )
    return None


def _factorizations(extent: int, count: int) -> list[tuple[int, ...]]:
    """All ways to write `extent` as a product of `count` factors, by the inner factors first."""
    if count == 1:
        return [(extent,)]
    divisors = [factor for factor in range(1, extent + 1) if extent % factor == 0]
    return [
        (*outer, inner)
        for inner in divisors
        for outer in _factorizations(extent // inner, count - 1)
    ]
