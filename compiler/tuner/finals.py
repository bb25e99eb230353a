"""The last word on a task: its best candidates and the default, measured again in turns.

Each was measured alone before, and of many readings the lowest is a lucky one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from compiler.program import CompiledKernel
from compiler.tuner.search import TaskSearch, Tried
from compiler.tuner.trial import KernelData, Measured, TrialRunner
from compiler.tuner.trial_log import TrialLog

FINALISTS = 3  # beside the default
ROUNDS = 5
# What is faster by less than that is not worth a record: the default needs none.
LEAST_GAIN = 0.01
# The default's single reading may have been a lucky one: what was slower by less takes part.
_ALLOWANCE = 0.03

Kernels = Callable[[Sequence[Tried]], list[CompiledKernel | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalResult:
    """Who won, and by how much."""

    winner: Tried
    is_default: bool
    default: float  # median, in the runner's unit
    best: float
    in_turns: bool  # else the values are those of single trials: there was no choice

    @property
    def gain(self) -> float:
        return self.default / self.best


def run_final(
    search: TaskSearch,
    kernels: Kernels,
    data: KernelData,
    runner: TrialRunner,
    log: TrialLog,
) -> FinalResult | None:
    """Measure the finalists in turns, append that, and return who won.

    Args:
        kernels: builds them again where they are not at hand; None for one that fails.

    Returns: None if the default could not be measured at all.
    """
    default = search.default
    if default is None:
        return None
    rivals = sorted(search.passed.values(), key=lambda one: (one.value, one.trace_id))
    most = default.value * (1 + _ALLOWANCE)
    rivals = [one for one in rivals if one is not default and one.value < most]
    finalists = [default, *rivals[:FINALISTS]]
    if len(finalists) == 1:
        return _uncontested(default)
    pairs = [
        (tried, kernel)
        for tried, kernel in zip(finalists, kernels(finalists), strict=True)
        if kernel is not None
    ]
    if len(pairs) < 2 or pairs[0][0] is not default:
        return _uncontested(default)
    rounds = ROUNDS if runner.unit == "us" else 1  # counted instructions do not vary
    measured = runner.measure_in_turns([kernel for _, kernel in pairs], data, rounds)
    return _judged(search, [tried for tried, _ in pairs], measured, log)


def _uncontested(default: Tried) -> FinalResult:
    return FinalResult(
        winner=default,
        is_default=True,
        default=default.value,
        best=default.value,
        in_turns=False,
    )


def _judged(
    search: TaskSearch, finalists: Sequence[Tried], measured: Sequence[Measured], log: TrialLog
) -> FinalResult:
    """Append all values; those that may be used instead of the default say what it took."""
    default = finalists[0]
    if not measured[0].values:
        return _uncontested(default)
    reference = median(measured[0].values)
    best, winner = reference, default
    for tried, one in zip(finalists, measured, strict=True):
        if one.outcome != "passed":
            log.write_in_turns(search.task, tried, one, None)
            search.failed.add(tried.trace_id)
            search.passed.pop(tried.trace_id, None)
            continue
        value = median(one.values)
        is_worth_it = tried is default or value <= reference * (1 - LEAST_GAIN)
        log.write_in_turns(search.task, tried, one, reference if is_worth_it else None)
        if is_worth_it and value < best:
            best, winner = value, tried
    return FinalResult(
        winner=winner,
        is_default=winner is default,
        default=reference,
        best=best,
        in_turns=True,
    )
