"""How often a kernel is measured: until more would hardly change the median, in bounded time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

REPEAT_S = 0.002
TOTAL_S = 0.3
FEWEST = 3
_USUAL, _MOST = 5, 30
# How far the median may lie above the fastest repeat: then more repeats would say the same.
_SPREAD = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """Microseconds of a call, and whether the system left the processor to it meanwhile."""

    us: float
    undisturbed: bool


def calls_of_a_repeat(call_s: float) -> int:
    """Return how many calls take long enough for the clock, and for what disturbs now and then."""
    return max(1, ceil(REPEAT_S / max(call_s, 1e-9)))


def is_enough(repeats: Sequence[Repeat], *, time_is_up: bool) -> bool:
    """Whether more repeats would hardly change the median."""
    if len(repeats) < FEWEST or (len(repeats) < _USUAL and not time_is_up):
        return False
    if time_is_up or len(repeats) >= _MOST:
        return True
    undisturbed = _undisturbed(repeats)
    return len(undisturbed) >= _USUAL and _agree(undisturbed)


def kept(repeats: Sequence[Repeat]) -> Sequence[Repeat]:
    """Return the repeats that count: what disturbs a kernel only makes it slower.

    Those in which the processor was taken away do not if there are others; of repeats that do not
    agree the slower half does not. At least three are left.
    """
    undisturbed = _undisturbed(repeats)
    found = undisturbed if len(undisturbed) >= FEWEST else repeats
    if _agree(found):
        return found
    return sorted(found, key=lambda repeat: repeat.us)[: max(FEWEST, len(found) // 2)]


def _undisturbed(repeats: Sequence[Repeat]) -> list[Repeat]:
    return [repeat for repeat in repeats if repeat.undisturbed]


def _agree(repeats: Sequence[Repeat]) -> bool:
    times = [repeat.us for repeat in repeats]
    return median(times) <= (1 + _SPREAD) * min(times)
