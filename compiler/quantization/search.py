"""Which units stay in float: the few that cost most, until the user's limit holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from compiler.quantization.judge import Judge, Score
from compiler.quantization.network import Network
from compiler.quantization.ranges import QuantizationError
from compiler.quantization.recipe import Probe, Recipe, Report
from compiler.quantization.units import Unit, without_idle_joins

RETURN_TRIALS = 8  # of units that are taken back into integers one by one
SLACK = 1e-9  # shares are sums of floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The units that compute in integers, and what that costs."""

    units: tuple[Unit, ...]
    score: Score
    all_score: Score  # with every unit in integers
    # By unit: relative error of the outputs if it alone is quantized. Empty if that was not asked,
    # because all units together are within the limit.
    noises: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Shares of 1."""

    max_drop: float
    min_int8: float  # of the multiply-accumulates


def choose_units(
    recipe: Recipe, probe: Probe, judge: Judge, limits: Limits, total_macs: int, report: Report
) -> Choice:
    """Return the units for integers: as many as the limits allow.

    Raises:
        QuantizationError: both limits do not hold together, or no unit could be quantized.
    """
    target = judge.float_score.counted - limits.max_drop - SLACK
    report("every layer in integers")
    everything = _kept(recipe, ())
    all_score = judge.score(Network(recipe.model(everything)))
    if all_score.counted >= target:
        units, reached, noises = everything, all_score, {}
    else:
        noises = _sensitivity(recipe, probe, report)
        units, reached = _search(recipe, judge, noises, target, report)
    _check(units, mac_share(units, total_macs), limits, judge, all_score)
    return Choice(units=units, score=reached, all_score=all_score, noises=noises)


def _search(
    recipe: Recipe, judge: Judge, noises: Mapping[str, float], target: float, report: Report
) -> tuple[tuple[Unit, ...], Score]:
    """Return the units for integers, all others in float until the score reaches the target."""
    order = sorted(recipe.units, key=lambda unit: -noises[unit.name])  # sorted() is stable
    scores: dict[int, Score] = {}

    def holds(float_count: int) -> bool:
        report(f"{float_count} of {len(order)} layers in float")
        model = recipe.model(_kept(recipe, order[:float_count]))
        scores[float_count] = judge.score(Network(model))
        return scores[float_count].counted >= target

    count = _smallest(holds, len(order))
    reached = scores.get(count, judge.float_score)
    in_float, reached = _returned(recipe, judge, order[:count], reached, target, report)
    return _kept(recipe, in_float), reached


def _sensitivity(recipe: Recipe, probe: Probe, report: Report) -> dict[str, float]:
    """Return the error of the outputs that each unit makes alone; independent errors add up."""
    noises = {}
    for position, unit in enumerate(recipe.units):
        report(f"sensitivity: layer {position + 1} of {len(recipe.units)}")
        noises[unit.name] = probe.noise(recipe.model([unit]))
    return noises


def _smallest(holds: Callable[[int], bool], most: int) -> int:
    """Return the smallest count from 1 that holds, taking it that larger ones do, too.

    Neither 0, which does not hold, nor `most`, which does, is asked.
    """
    low, high = 0, 1
    while high < most and not holds(high):
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _returned(
    recipe: Recipe,
    judge: Judge,
    in_float: Sequence[Unit],
    reached: Score,
    target: float,
    report: Report,
) -> tuple[list[Unit], Score]:
    """Take back into integers what the limit allows, the most multiply-accumulates first."""
    kept = list(in_float)
    for unit in sorted(in_float, key=lambda unit: -unit.macs)[:RETURN_TRIALS]:
        report(f"back in integers: {unit.name}")
        fewer = [other for other in kept if other is not unit]
        score = judge.score(Network(recipe.model(_kept(recipe, fewer))))
        if score.counted >= target:
            kept, reached = fewer, score
    return kept, reached


def _kept(recipe: Recipe, in_float: Collection[Unit]) -> tuple[Unit, ...]:
    names = {unit.name for unit in in_float}
    rest = [unit for unit in recipe.units if unit.name not in names]
    return without_idle_joins(rest, recipe.graph)


def mac_share(units: Collection[Unit], total: int) -> float:
    """Return the share of the multiply-accumulates that these units do."""
    return sum(unit.macs for unit in units) / max(1, total)


def _check(
    units: Collection[Unit], share: float, limits: Limits, judge: Judge, all_score: Score
) -> None:
    if units and share >= limits.min_int8:
        return
    lost = judge.float_score.counted - all_score.counted
    raise QuantizationError(
        f"a drop of at most {limits.max_drop:.2%} leaves {share:.1%} of the work in integers",
        why=f"with every layer in integers {lost:.2%} are lost"
        + (f"; at least {limits.min_int8:.0%} of the work shall be in integers" if units else ""),
        fix="allow more with --max-drop, give more calibration samples, or train the model for "
        "8 bits",
    )
