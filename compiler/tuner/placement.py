"""Which processors build and search, and which measure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Logical processors, by number; None: as the system decides."""

    building: tuple[int, ...] | None
    measuring: tuple[int, ...] | None
    usable: tuple[int, ...] | None  # both
    count: int  # of those that build


def place(threads: int) -> Placement:
    """Keep `threads` processors for measuring and give the rest to everything else.

    Where that leaves none, all are shared: then what is measured is disturbed by builds.
    """
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        count = max(1, (os.cpu_count() or 1) - 1)
        return Placement(building=None, measuring=None, usable=None, count=count)
    usable = sorted(os.sched_getaffinity(0))
    # The last ones: the system's own work tends to be on the first.
    measuring = tuple(usable[-threads:])
    building = tuple(usable[:-threads]) or tuple(usable)
    return Placement(
        building=building, measuring=measuring, usable=tuple(usable), count=len(building)
    )


def anywhere() -> Placement:
    """Let the system decide: what measures is another machine, or only counts."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Placement(building=None, measuring=None, usable=None, count=usable or 1)


@contextmanager
def on(cpus: tuple[int, ...] | None) -> Iterator[None]:
    """Keep this thread, and those that it starts, on some processors."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
