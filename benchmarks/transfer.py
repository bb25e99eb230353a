"""How much of what tuning gains a related target's records give, with no trials and with a few.

    python -m benchmarks.transfer MODEL... [--source cortex-a72] [--target cortex-a76]
        [--source-logs FOLDER] [--time 3m] [--trials 16]

Each model is tuned for `--time` three times, in folders of its own: for the source (unless there is
`--source-logs`), for the target from nothing, and for the target from the source's records. A
kernel's full gain is that of the best schedule that either run for the target found. With no trials
it has the decisions that were a gain for the same kernel on the source, faster here or not, else
its default; with N the best of its first N. Targets whose runner counts instructions give the same
figures on every machine.

Writes ``benchmarks/results/transfer-SOURCE-TARGET.json`` and ``.md``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).resolve().parent / "results"

Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelTransfer:
    """One kernel of a model; values are instructions, or microseconds, of a call."""

    model: str
    kernel: str
    calls: int
    default: float
    best: float
    without_trials: float
    with_trials: float


def transfers(
    model: Path, source: str, target: str, *, source_logs: Path | None, duration: str, trials: int
) -> list[KernelTransfer]:
    """Tune a model from nothing and from the source's records, and compare kernel by kernel.

    Args:
        source_logs: folder whose `source` has the records to start from; else they are made.
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-transfer-") as work:
        fresh = _tuned(model, target, Path(work) / "fresh", duration)
        seeded_logs = Path(work) / "seeded"
        if source_logs is None:
            _tuned(model, source, seeded_logs, duration)
        else:
            shutil.copytree(source_logs / source, seeded_logs / source)
        seeded = _tuned(model, target, seeded_logs, duration)
    calls = {event["kernel"]: event["calls"] for event in fresh if event["event"] == "task"}
    found = (_of_kernel(model, name, count, fresh, seeded, trials) for name, count in calls.items())
    return [one for one in found if one is not None]


def _tuned(model: Path, target: str, logs: Path, duration: str) -> list[Event]:
    """Events of a run that searches schedules only, to the end of its time or of its spaces."""
    command = [sys.executable, "-m", "compiler", "tune", str(model), "--target", target, "--json"]
    options = ["--log-dir", str(logs), "--time", duration, "--stop-gain", "0"]
    options += ["--no-choices", "--no-acceptance"]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _of_kernel(
    model: Path, kernel: str, calls: int, fresh: list[Event], seeded: list[Event], trials: int
) -> KernelTransfer | None:
    """Return None if the default was not measured in one of the runs."""
    first, second = _passed(fresh, kernel), _passed(seeded, kernel)
    default = _value_of(first, "default")
    if default is None or _value_of(second, "default") is None:
        return None
    searched = [event for event in second if event["origin"] != "default"]
    same = [event for event in second if event["seed"].startswith("the same kernel on ")]
    seed = _value_of(same, "seed")
    return KernelTransfer(
        model=model.stem,
        kernel=kernel,
        calls=calls,
        default=default,
        best=min(event["value"] for event in [*first, *second]),
        without_trials=default if seed is None else seed,
        with_trials=min([default, *(event["value"] for event in searched[:trials])]),
    )


def _passed(events: Iterable[Event], kernel: str) -> list[Event]:
    return [
        event
        for event in events
        if event["event"] == "trial" and event["kernel"] == kernel and event["outcome"] == "passed"
    ]


def _value_of(passed: Sequence[Event], origin: str) -> float | None:
    """What the first candidate of an origin took."""
    return next((event["value"] for event in passed if event["origin"] == origin), None)


def table(found: Sequence[KernelTransfer]) -> str:
    """Return a row for each model, and one for all, as Markdown."""
    lines = [
        "| model | kernels | with a gain | full gain % | with no trials % of it | with some % |",
        "|---" * 6 + "|",
    ]
    for model in sorted({one.model for one in found}):
        lines.append(_row(model, [one for one in found if one.model == model]))
    lines.append(_row("all", found))
    return "\n".join(lines) + "\n"


def _row(name: str, found: Sequence[KernelTransfer]) -> str:
    default = sum(one.calls * one.default for one in found)
    full = sum(one.calls * (one.default - one.best) for one in found)
    none = sum(one.calls * (one.default - one.without_trials) for one in found)
    some = sum(one.calls * (one.default - one.with_trials) for one in found)
    gained = sum(one.best < one.default for one in found)
    shares = [f"{100 * part / full:.0f}" if full else "-" for part in (none, some)]
    return (
        f"| {name} | {len(found)} | {gained} | {100 * full / default:.2f} | {' | '.join(shares)} |"
    )


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--source", default="cortex-a72", show_default=True)
@click.option("--target", default="cortex-a76", show_default=True)
@click.option(
    "--source-logs",
    type=click.Path(path_type=Path, exists=True),
    help="Folder whose SOURCE has the records to start from; left out, they are made first.",
)
@click.option("--time", "duration", default="3m", show_default=True, help="Of each run.")
@click.option("--trials", type=click.IntRange(1), default=16, show_default=True)
def main(
    models: tuple[Path, ...],
    source: str,
    target: str,
    source_logs: Path | None,
    duration: str,
    trials: int,
) -> None:
    """Compare tuning of MODEL... from nothing and from another target's records."""
    results = RESULTS / f"transfer-{source}-{target}.json"
    found: list[KernelTransfer] = []
    for model in models:
        found += transfers(
            model, source, target, source_logs=source_logs, duration=duration, trials=trials
        )
        rows = [asdict(one) for one in found]
        results.write_text(json.dumps({"trials": trials, "rows": rows}, indent=1) + "\n")
        results.with_suffix(".md").write_text(table(found))
        click.echo(table([one for one in found if one.model == model.stem]).splitlines()[2])
    click.echo(table(found))


if __name__ == "__main__":
    main()
