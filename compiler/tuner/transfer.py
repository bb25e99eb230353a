"""First candidates from elsewhere: what was good for like kernels, and on like targets.

Records of another target are never used by a build; here they only say where to look first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.tuner.features import operators
from compiler.tuner.search import TaskSearch
from compiler.tuner.space import Decision, Point
from compiler.tuner.trial import TuningTask
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.store import rank
from compiler.tuning.target_key import TargetKey

MOST_SEEDS = 6
# Of each kernel elsewhere.
_OF_A_WORKLOAD = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A good schedule of a kernel elsewhere."""

    record: ScheduleRecord
    place: int  # how far away its target is: see `_place`
    where: str  # for a reader: "x86-64-v3"
    # Else it may be slower than the default there: only a place to look at, after the others.
    is_promising: bool = True

    def text(self, task: TuningTask) -> str:
        """For a reader: "conv2d_float32_1x8x56x56 on x86-64-v3", or "the same kernel on ..."."""
        same = self.is_promising and self.record.workload == task.workload
        return f"{'the same kernel' if same else self.record.kernel} on {self.where}"


def sources(
    records: Iterable[ScheduleRecord], key: TargetKey, workloads: frozenset[str]
) -> list[Source]:
    """Return the best records of every workload but those of `key` itself for `workloads`.

    Promising are those that beat the default schedule in turns; without rivals near the default, it
    may be the best one itself, and what comes next is a bad choice there.
    """
    by_workload: dict[tuple[str, str], dict[str, ScheduleRecord]] = {}
    for record in records:
        own = record.target.fingerprint == key.fingerprint and record.workload in workloads
        if record.is_usable and not own:
            place = by_workload.setdefault((record.target.fingerprint, record.workload), {})
            name = record.trace_id
            if name not in place or rank(record) < rank(place[name]):
                place[name] = record
    found = []
    for each in by_workload.values():
        known = sorted(each.values(), key=rank)
        in_turns = [one for one in known if one.measurement.reference is not None]
        faster = [one for one in in_turns if not one.is_reference]
        promising = faster if in_turns else known[:1]
        for record in known[:_OF_A_WORKLOAD]:
            where = record.target.name
            where += "" if record.target.tools == key.tools else f" ({record.target.tools})"
            source = Source(
                record=record,
                place=_place(record.target, key),
                where=where,
                is_promising=record in promising,
            )
            found.append(source)
    return found


def _place(other: TargetKey, key: TargetKey) -> int:
    if other.fingerprint == key.fingerprint:
        return 1  # another kernel on this target
    return 0 if other.machine == key.machine else 2  # 0: stale records of this machine


def seed(search: TaskSearch, found: Sequence[Source], *, siblings: Sequence[TaskSearch]) -> None:
    """Give a search its first candidates: the nearest kernels' best decisions, where they fit.

    Args:
        found: from records of other workloads and targets.
        siblings: other tasks of this run; what they found so far counts as a source.
    """
    mapped: list[tuple[tuple[float, ...], Point, str]] = []
    for source in found:
        point = _mapped(search, source.record.rule, source.record.trace)
        if point is not None:
            other = float(source.record.workload != search.task.workload)
            distance = _distance(search.task.kernel, source.record.kernel)
            far = (float(not source.is_promising), other, *distance, float(source.place))
            mapped.append((far, point, source.text(search.task)))
    for sibling in siblings:
        best = sibling.best
        if best is None or best.trace_id == sibling.default_id:
            continue
        point = _mapped(search, best.rule, best.trace)
        if point is not None:
            far = (0.0, 1.0, *_distance(search.task.kernel, sibling.task.kernel), 1.0)
            mapped.append((far, point, f"{sibling.task.kernel} of this run"))
    known = {point for realized, _ in search.seeds for point in [realized.point]}
    for _, point, text in sorted(mapped, key=lambda one: one[0]):
        if len(search.seeds) >= MOST_SEEDS:
            break
        if point in search.visited or point in known:
            continue
        known.add(point)
        realized = search.space.realized(point)
        if realized is not None:
            search.seeds.append((realized, text))


def _distance(ours: str, theirs: str) -> tuple[float, float]:
    """How unlike two kernels are, by their names: other operators, then other sizes."""
    same = 0.0 if operators(ours) == operators(theirs) else 1.0
    return same, abs(_log_size(ours) - _log_size(theirs))


def _log_size(kernel: str) -> float:
    """log2 of the elements of the first output, which stand at a name's end."""
    rest = kernel.removeprefix(operators(kernel)).split("_")
    shape = next((part for part in rest if part and part[0].isdigit()), "1")
    return sum(math.log2(int(part)) for part in shape.split("x") if part.isdigit() and int(part))


def _mapped(search: TaskSearch, rule: str, trace: list[Any]) -> Point | None:
    """The point with the choices nearest to what another kernel's draws decided, in order.

    None if it is of another rule, or its draws are of other kinds.
    """
    draws = search.space.draws(0)
    theirs = [one for one in _drawn(trace) if one[2]]
    if rule != search.default_rule or not draws:
        return None
    if [kind for kind, _, _ in theirs] != [draw.kind for draw in draws]:
        return None
    pairs = zip(draws, theirs, strict=True)
    return Point(0, tuple(_nearest(draw, value) for draw, (_, value, _) in pairs))


def _drawn(trace: list[Any]) -> list[tuple[str, Any, bool]]:
    """Of each sampling call: its kind, what it decided, and whether it had a choice."""
    steps, decided = trace
    found = []
    for index, decision in decided:
        kind, attributes = steps[index][0], steps[index][2]
        if kind == "SampleCategorical":
            candidates = attributes[0]
            found.append((kind, candidates[int(decision)], len(candidates) > 1))
        elif kind == "SamplePerfectTile":
            found.append((kind, tuple(decision), math.prod(decision) > 1))
        else:
            found.append((kind, decision, True))
    return found


def _nearest(draw: Any, value: Any) -> Decision:
    def far(number: int) -> float:
        mine, its = draw.values[number], value
        if isinstance(mine, tuple):
            pairs = zip(reversed(mine), reversed(its), strict=False)
            return sum(abs(math.log2(one) - math.log2(other)) for one, other in pairs)
        return abs(math.log2(max(mine, 0) + 1) - math.log2(max(its, 0) + 1))

    nearest: Decision = draw.choices[min(range(len(draw.choices)), key=far)]
    return nearest
