"""A tuning run as it goes on, and what it came to, for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click

from compiler.commands.output import print_table
from compiler.tuner.events import (
    ChoiceTried,
    Event,
    Finished,
    Judged,
    ModelTrained,
    Started,
    TaskEnded,
    TaskStarted,
    TrialEnded,
)
from compiler.tuner.result import TuningResult
from compiler.tuning.record import Unit

# Rows of the live table: those with most to tell.
_ROWS = 16
_COLUMNS = ("kernel", "calls", "default", "best", "gain", "trials", "failed", "schedule")


class _Live(Protocol):
    def update(self, renderable: Any) -> None: ...


@contextmanager
def open_view(seconds: float | None, *, quiet: bool) -> Iterator[View]:
    """Yield a listener that shows events on stderr: a live table on a terminal, else lines."""
    if quiet:
        yield View(seconds, say=lambda _: None)
        return
    if not sys.stderr.isatty():
        yield View(seconds, say=lambda text: click.echo(text, err=True))
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
        yield View(seconds, say=lambda _: None, live=live)


class View:
    """Listens to a run."""

    def __init__(self, seconds: float | None, *, say: Any, live: _Live | None = None) -> None:
        self._seconds, self._say, self._live = seconds, say, live
        self._began = time.monotonic()
        self._unit: Unit = "us"
        self._rows: dict[str, _Row] = {}
        self._trials = self._failed = 0
        self._correlation: float | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case Started():
                self._unit = event.unit
                self._seconds = None if self._seconds is None else self._seconds - event.spent_s
                self._say(f"{event.tasks} kernels of {event.model} on {event.conditions}")
            case ChoiceTried():
                self._say(_choice(event))
            case TaskStarted():
                self._rows[event.kernel] = _Row(event)
            case TrialEnded():
                self._take(event)
            case ModelTrained():
                self._correlation = event.rank_correlation
            case TaskEnded():
                self._say(_ended(event))
            case Judged():
                self._say(judged_text(event))
            case Finished():
                self._say(f"ended: {event.reason}")
            case _:
                pass
        if self._live is not None:
            self._live.update(self._table())

    def report(self, step: str) -> None:
        """Show what is done before the first trial; on a terminal only."""
        if self._live is not None:
            self._live.update(step)

    def _take(self, event: TrialEnded) -> None:
        row = self._rows[event.kernel]
        improved = row.take(event)
        self._trials, self._failed = event.trials, event.failed
        value = "failed" if event.value is None else figure(event.value, self._unit)
        if event.outcome != "passed":
            self._say(f"{event.kernel}: {event.outcome}: {event.reason}")
        elif improved:
            gain = (event.default or event.value or 0.0) / (event.value or 1.0)
            self._say(f"{event.kernel}: {value}, {gain:.2f} times ({event.origin})")

    def _table(self) -> Any:
        from rich.table import Table

        rows = sorted(self._rows.values(), key=lambda row: -row.time)[:_ROWS]
        table = Table(box=None, caption=self._caption(), caption_justify="left")
        for name in ("kernel", "best", "gain", "trials", "failed"):
            table.add_column(name, justify="left" if name == "kernel" else "right")
        for row in rows:
            table.add_row(*row.cells(self._unit))
        return table

    def _caption(self) -> str:
        elapsed = time.monotonic() - self._began
        parts = [f"{self._trials} trials, {self._failed} failed, {elapsed:,.0f} s"]
        if self._seconds is not None:
            parts.append(f"{max(0.0, self._seconds - elapsed):,.0f} s left")
        total = sum(row.default_time for row in self._rows.values())
        best = sum(row.time for row in self._rows.values())
        if best:
            parts.append(f"kernels together {total / best:.3f} times as fast")
        if self._correlation is not None:
            parts.append(f"cost model's rank correlation {self._correlation:.2f}")
        return "; ".join(parts)


class _Row:
    """One kernel."""

    def __init__(self, event: TaskStarted) -> None:
        self._event = event
        self._default: float | None = None
        self._best: float | None = None
        self._trials, self._failed = event.known_trials, 0

    def take(self, event: TrialEnded) -> bool:
        """Return whether this trial is the best so far."""
        improved = event.value is not None and event.value == event.best
        self._default, self._best = event.default, event.best
        self._trials += event.outcome == "passed"
        self._failed += event.outcome != "passed"
        return improved

    @property
    def time(self) -> float:
        return (self._best or 0.0) * self._event.calls

    @property
    def default_time(self) -> float:
        return (self._default or 0.0) * self._event.calls

    def cells(self, unit: Unit) -> tuple[str, ...]:
        best = "-" if self._best is None else figure(self._best, unit)
        gain = self.default_time / self.time if self.time else 1.0
        return (self._event.kernel, best, f"{gain:.2f}", str(self._trials), str(self._failed))


def figure(value: float, unit: Unit) -> str:
    """Return a value of one kernel call with its unit."""
    if unit == "instructions":
        return f"{value:,.0f} instructions"
    return f"{value:,.1f} us" if value >= 10 else f"{value:.3f} us"


def _choice(event: ChoiceTried) -> str:
    if event.value is None or event.default is None:
        return f"{event.signature}: {event.choice}: {event.outcome}"
    kept = "kept" if event.is_gain else "not kept"
    return f"{event.signature}: {event.choice}: {event.default / event.value:.2f} times, {kept}"


def _ended(event: TaskEnded) -> str:
    if event.default is None:
        return f"{event.kernel}: not tuned: {event.reason or 'its default could not be measured'}"
    kept = "the default stays" if event.is_default else f"{event.gain:.2f} times the default"
    return f"{event.kernel}: done, {kept}"


def judged_text(event: Judged) -> str:
    """Return how the whole model did."""
    gain = "" if event.gain is None else f"the whole model is {event.gain:.3f} times as fast"
    rejected = f"; not used: {', '.join(event.rejected)}" if event.rejected else ""
    return f"{gain or event.reason}{rejected}"


def print_result(result: TuningResult, *, explain: bool) -> None:
    """Print one row for each kernel, then the sums; with `explain`, what seeds were worth."""
    rows = [_cells(one) for one in result.kernels]
    print_table(_COLUMNS, rows, right=_COLUMNS[1:7])
    done = result.finished
    click.echo()
    click.echo(
        f"kernels together: {figure(done.default, result.started.unit)} by default, "
        f"{figure(done.best, result.started.unit)} now ({result.gain:.3f} times as fast)"
    )
    if result.judged is not None:
        click.echo(judged_text(result.judged))
    each = f", {done.seconds_per_trial:.2f} s each" if done.seconds_per_trial else ""
    click.echo(
        f"{done.trials} trials{each}, {done.failed} failed, "
        f"{done.elapsed_s:,.0f} s; ended: {done.reason}"
    )
    click.echo(f"records: {result.records}")
    if explain:
        _print_explanation(result)


def _cells(one: TaskEnded) -> tuple[str, ...]:
    default = "-" if one.default is None else figure(one.default, one.unit)
    best = "-" if one.best is None else figure(one.best, one.unit)
    schedule = "default" if one.is_default else one.winner
    counts = (str(one.trials), str(one.failed))
    return (one.kernel, str(one.calls), default, best, f"{one.gain:.2f}", *counts, schedule)


def _print_explanation(result: TuningResult) -> None:
    """Where first candidates came from, and what part of the final gain they brought."""
    columns = ("kernel", "best seed from", "seed's gain", "final gain", "share")
    rows = [_seed_cells(one) for one in result.kernels if one.seed_gain is not None]
    click.echo()
    if rows:
        print_table(columns, rows, right=columns[2:])
    else:
        click.echo("no record of a like kernel or target gave a first candidate")
    correlation = result.finished.rank_correlation
    if correlation is not None:
        click.echo(
            f"cost model: rank correlation {correlation:.2f} between what it predicted and what "
            "was then measured"
        )


def _seed_cells(one: TaskEnded) -> tuple[str, ...]:
    assert one.seed_gain is not None
    share = (one.seed_gain - 1) / (one.gain - 1) if one.gain > 1.0 else None
    text = "-" if share is None else f"{min(max(share, 0.0), 1.0):.0%}"
    return (one.kernel, one.best_seed, f"{one.seed_gain:.2f}", f"{one.gain:.2f}", text)
