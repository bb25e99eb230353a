"""Where the next trials go, and when they are no longer worth while.

A model's time is the sum over its kernels of calls times time. What trials of a task may take off
it is not known before; it is estimated from how much the last ones took off and, at first, from
hope: each task is expected to have some share of its time to give, less with every trial that finds
nothing and with every point of its space that was tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

# What a task is hoped to give before anything is known of it, as a share of its time.
HOPE = 0.15
# After so many trials without a find, half of the hope is gone.
HALF_LIFE = 8
# Trials over which progress is averaged.
WINDOW = 8


@dataclass(kw_only=True)
class Progress:
    """A task's trials so far, in the order in which they ended."""

    calls: int
    best: list[float] = field(default_factory=list)  # after each trial that passed; first: default
    known: int = 0  # trials of earlier runs, whose order is not known
    failed: int = 0

    def start(self, default: float, best: float, known: int) -> None:
        """Begin where earlier runs ended."""
        self.best, self.known = [default, min(default, best)], known

    def add(self, value: float) -> None:
        self.best.append(min(value, self.best[-1]) if self.best else value)

    @property
    def time(self) -> float:
        """What the model spends in this task's kernels, in the runner's unit."""
        return self.calls * self.best[-1] if self.best else 0.0

    @property
    def default_time(self) -> float:
        return self.calls * self.best[0] if self.best else 0.0

    @property
    def barren(self) -> int:
        """Trials since the last one that found something; failed ones count."""
        if not self.best:
            return self.failed
        found = next(number for number, value in enumerate(self.best) if value == self.best[-1])
        since = len(self.best) - 1 - found
        return since + self.failed + (self.known if found <= 1 else 0)

    def expected_gain(self, untried_share: float, prospect: float = 1.0) -> float:
        """What the next trials are expected to take off the model's time, in the runner's unit.

        Args:
            prospect: what the cost model thinks of it, from 0 to 1 (`TaskSearch.prospect`).
        """
        if not self.best or untried_share <= 0.0:
            return 0.0
        before = self.best[max(0, len(self.best) - 1 - WINDOW)]
        recent = max(0.0, 1.0 - self.best[-1] / before)
        hoped = HOPE * untried_share * math.pow(0.5, self.barren / HALF_LIFE)
        return self.time * prospect * max(hoped, recent * math.pow(0.5, self.barren / WINDOW))


def next_task(gains: Sequence[float], total: float, stop_gain: float) -> int | None:
    """Return the number of the task that is expected to gain most.

    None where all of them together are expected to gain less than the share `stop_gain` of the
    model's time, `total`.
    """
    if sum(gains) <= 0.0 or sum(gains) < stop_gain * total:
        return None
    return max(range(len(gains)), key=gains.__getitem__)
