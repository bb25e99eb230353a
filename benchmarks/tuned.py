"""Speed after tuning: each model tuned for some minutes, then beside its peers and itself untuned.

    python -m benchmarks.tuned MODEL... --name MACHINE [--target host] [--time 10m]
        [--log-dir DIR] [--again]

One thread, float32 or as the file says. Writes ``benchmarks/results/tuned-MACHINE.json``, a row for
each model, and the same figures as a table. Rows of other models stay in the file. Records stay in
the log folder, so that a second run goes on from them; with `--again` models are timed by the
records that are there, and what tuning took stays as it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import click

from compiler.measure.bench import PEERS, bench
from compiler.measure.bench_result import ModelTiming
from compiler.pipeline import compile as compile_model
from compiler.tuner.run_times import RunTimes, compare_runs

RESULTS = Path(__file__).resolve().parent / "results"
_COMPARED_S, _OPENINGS = 40.0, 35
# Comparisons with the peers, everything opened anew: where memory lies changes a ratio by some 2 %.
_COMPARISONS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model; times are minima in microseconds, ratios over 1 say that ours is faster.

    Times and peer are those of the comparison whose ratio is the median one.
    """

    model: str
    cpu: str
    tuning_seconds: float
    trials: int
    failed: int
    us: float
    median_us: float
    untuned_us: float
    best_peer: str
    ratio_to_best: float
    ratios_to_best: Sequence[float]  # of all comparisons
    untuned_ratio_to_best: float
    gain: float  # untuned over tuned, both opened anew several times
    gain_margin: float  # by which that may be off


def tuned(model: Path, target: str, folder: Path, duration: str) -> tuple[float, dict[str, Any]]:
    """Tune one model and return the seconds taken and the last event, which sums up."""
    command = [sys.executable, "-m", "compiler", "tune", str(model), "--target", target]
    options = ["--threads", "1", "--log-dir", str(folder), "--time", duration, "--json"]
    start = time.monotonic()
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
    last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return time.monotonic() - start, last


def measured(
    model: Path, target: str, folder: Path, runs: int, seconds: float, last: Mapping[str, Any]
) -> Row:
    """Time a model in turns with its peers and with itself untuned.

    Args:
        seconds: that its tuning took.
        last: has the trials of its tuning, and those that failed.
    """
    results = [
        bench([model], target=target, against=PEERS, threads=1, runs=runs, records=folder)
        for _ in range(_COMPARISONS)
    ]
    timings = sorted((result.models[0] for result in results), key=_ratio)
    gain = gained(model, target, folder)
    return _row(timings, gain, str(results[0].settings["cpu"]), seconds, last)


def _ratio(timing: ModelTiming) -> float:
    if timing.ratio_to_best is None:
        raise click.ClickException(f"{timing.model}: no peer could run it")
    return timing.ratio_to_best


def gained(model: Path, target: str, folder: Path) -> RunTimes:
    """Run a model with the records in the folder and without, in turns."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-tuned-") as work:
        old, new = (
            compile_model(
                model,
                target=target,
                output=Path(work) / name,
                threads=1,
                records=records,
                verify="skip",
            )
            for name, records in (("untuned", None), ("tuned", folder))
        )
        return compare_runs(old, new, threads=1, budget_s=_COMPARED_S, openings=_OPENINGS)


def _row(
    timings: Sequence[ModelTiming],
    times: RunTimes,
    cpu: str,
    seconds: float,
    last: Mapping[str, Any],
) -> Row:
    timing = timings[len(timings) // 2]
    ours, best, gain = timing.timings[0], timing.best_peer, 1 / times.ratio
    assert best is not None  # there is a ratio to it
    assert ours.minimum_us is not None  # ours has run, and so has its untuned build
    assert ours.median_us is not None
    return Row(
        model=timing.model,
        cpu=cpu,
        tuning_seconds=seconds,
        trials=last["trials"],
        failed=last["failed"],
        us=ours.minimum_us,
        median_us=ours.median_us,
        untuned_us=ours.minimum_us * gain,
        best_peer=best.engine,
        ratio_to_best=_ratio(timing),
        ratios_to_best=[_ratio(one) for one in timings],
        untuned_ratio_to_best=_ratio(timing) / gain,
        gain=gain,
        gain_margin=times.margin,
    )


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    known = [Row(**row) for row in rows]
    lines = [
        "| model | trials | s a trial | untuned ms | tuned ms | gain | to the better peer "
        "| before tuning |",
        "|---" * 8 + "|",
    ]
    lines += [
        f"| {row.model} | {row.trials} | {row.tuning_seconds / max(1, row.trials):.2f} "
        f"| {row.untuned_us / 1e3:.3g} | {row.us / 1e3:.3g} "
        f"| {row.gain:.3f} ± {row.gain_margin:.3f} "
        f"| {_shown_ratio(row)} | {row.untuned_ratio_to_best:.2f} |"
        for row in known
    ]
    if known:
        after = geometric_mean(row.ratio_to_best for row in known)
        before = geometric_mean(row.untuned_ratio_to_best for row in known)
        gain = geometric_mean(row.gain for row in known)
        lines.append(f"| geometric mean | | | | | {gain:.3f} | {after:.2f} | {before:.2f} |")
    return "\n".join(lines) + "\n"


def _shown_ratio(row: Row) -> str:
    known = row.ratios_to_best
    if len(known) == 1:
        return f"{row.ratio_to_best:.2f}"
    return f"{row.ratio_to_best:.2f} ({known[0]:.2f} to {known[-1]:.2f})"


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--name", required=True, help="Of the machine, for the results' files.")
@click.option("--target", default="host", show_default=True, help="One that runs here.")
@click.option("--time", "duration", default="10m", show_default=True, help="Of each model.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True)
@click.option("--log-dir", "folder", type=click.Path(path_type=Path), default=Path("tuning_logs"))
@click.option("--again", is_flag=True, help="Only time what was tuned before.")
def main(
    models: tuple[Path, ...],
    name: str,
    target: str,
    duration: str,
    runs: int,
    folder: Path,
    again: bool,
) -> None:
    """Tune and time MODEL..., and write the results after each."""
    results = RESULTS / f"tuned-{name}.json"
    for model in models:
        known = json.loads(results.read_text())["rows"] if results.is_file() else []
        if again:
            before = next(row for row in known if row["model"] == model.stem)
            seconds, last = before["tuning_seconds"], before
        else:
            seconds, last = tuned(model, target, folder, duration)
        row = measured(model, target, folder, runs, seconds, last)
        others = [one for one in known if one["model"] != row.model]
        rows = sorted([*others, asdict(row)], key=lambda one: str(one["model"]))
        results.write_text(
            json.dumps({"target": target, "time": duration, "rows": rows}, indent=1) + "\n"
        )
        results.with_suffix(".md").write_text(table(rows))
        click.echo(table([asdict(row)]).splitlines()[2])


if __name__ == "__main__":
    main()
