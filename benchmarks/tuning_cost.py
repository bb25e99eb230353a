"""What tuning costs beside stock MetaSchedule: seconds a trial, and time to the same quality.

    python -m benchmarks.tuning_cost [--seed 0 --seed 1 --seed 2] [--case NAME] [--trials 64]

For each operator and seed stock MetaSchedule tunes with so many trials, and its wall time is taken,
from the start of the process to the library. Then `tunesmith tune` gets a fifth of that time, its
start and the acceptance of what it found included, and both are run in turns, one thread. Ours is
compiled with `--exact`: the same direct sums, no Winograd. Our time is that of the whole model,
copies to and from our layouts included.

Writes ``benchmarks/results/tuning_cost.json``, a row for each operator and seed, and the medians
over seeds as a table, ``tuning_cost.md``. Rows of other cases and seeds stay in the file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import onnx
from onnx import helper

from compiler.pipeline import compile as compile_model
from compiler.runners.open_runner import open_runner

RESULTS = Path(__file__).resolve().parent / "results"
SHARE = 5  # ours gets one part in so many of stock's wall time
# What `tunesmith tune` takes beside `--time`: to start, and to accept what it found.
AROUND_S = 13.0
ROUNDS, RUNS = 7, 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One operator; its constant weights are random."""

    name: str
    operator: str  # "Conv" or "MatMul"
    data: tuple[int, ...]
    weights: tuple[int, ...]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)

    @property
    def output(self) -> tuple[int, ...]:
        if self.operator == "MatMul":
            return (*self.data[:-1], self.weights[-1])
        spatial = (
            (extent + 2 * pad - taps) // stride + 1
            for extent, pad, taps, stride in zip(
                self.data[2:], self.pads, self.weights[2:], self.strides, strict=True
            )
        )
        return (self.data[0], self.weights[0], *spatial)


# Layers of resnet18 (its kinds of convolution) and of a small transformer.
CASES = (
    Case(
        name="conv 3x3, 64 to 64, 56x56",
        operator="Conv",
        data=(1, 64, 56, 56),
        weights=(64, 64, 3, 3),
        pads=(1, 1),
    ),
    Case(
        name="conv 3x3 stride 2, 128 to 256, 28x28",
        operator="Conv",
        data=(1, 128, 28, 28),
        weights=(256, 128, 3, 3),
        strides=(2, 2),
        pads=(1, 1),
    ),
    Case(
        name="conv 1x1 stride 2, 64 to 128, 56x56",
        operator="Conv",
        data=(1, 64, 56, 56),
        weights=(128, 64, 1, 1),
        strides=(2, 2),
    ),
    Case(name="matmul 128x384x1536", operator="MatMul", data=(128, 384), weights=(384, 1536)),
    Case(name="matmul 128x256x256", operator="MatMul", data=(128, 256), weights=(256, 256)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One operator tuned by both with one seed."""

    case: str
    seed: int
    stock_trials: int  # candidates that ran
    stock_failed: int
    stock_seconds: float
    stock_us: float  # of the library, minimum of runs in turns with ours
    trials: int
    failed: int
    seconds: float
    us: float
    default_us: float  # of ours without tuning


def model_of(case: Case, folder: Path) -> Path:
    """Write the operator as an ONNX file and return its path."""
    weights = np.random.default_rng(0).standard_normal(case.weights).astype(np.float32)
    attributes: dict[str, Any] = {}
    if case.operator == "Conv":
        attributes = {"strides": list(case.strides), "pads": [*case.pads, *case.pads]}
    node = helper.make_node(case.operator, ["data", "weights"], ["result"], **attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, case.data)],
        [helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, case.output)],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    path = folder / "case.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def run_stock(case: Case, library: Path, trials: int, seed: int) -> tuple[float, dict[str, int]]:
    """Return the wall time of stock's tuning and how many candidates ran and failed."""
    described = library.with_suffix(".json")
    described.write_text(json.dumps(asdict(case)))
    command = [sys.executable, "-m", "benchmarks.stock_tuner", str(described), str(library)]
    return _timed([*command, "--trials", str(trials), "--seed", str(seed)])


def run_ours(model: Path, logs: Path, seconds: float, seed: int) -> tuple[float, dict[str, Any]]:
    """Return the wall time of ours and the last event, which sums up."""
    command = [sys.executable, "-m", "compiler", "tune", str(model), "--target", "host"]
    options = ["--threads", "1", "--exact", "--seed", str(seed), "--log-dir", str(logs)]
    return _timed([*command, *options, "--time", f"{seconds:.0f}s", "--json"])


def _timed(command: Sequence[str]) -> tuple[float, dict[str, Any]]:
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.monotonic() - start
    last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, last


def times_in_turns(case: Case, library: Path, artifacts: Sequence[Path]) -> tuple[float, ...]:
    """Return the shortest run of stock's library and of each artifact, in microseconds."""
    import tvm

    generator = np.random.default_rng(1)
    data = generator.standard_normal(case.data).astype(np.float32)
    stock = tvm.runtime.load_module(str(library))
    operands = [
        tvm.runtime.tensor(array)
        for array in (
            data,
            generator.standard_normal(case.weights).astype(np.float32),
            np.zeros(case.output, np.float32),
        )
    ]
    evaluate = stock.time_evaluator("main", tvm.cpu(), number=1, repeat=RUNS)
    runners = [open_runner(artifact) for artifact in artifacts]
    best = [float("inf")] * (1 + len(runners))
    for _ in range(ROUNDS):
        turns = [min(evaluate(*operands).results)]
        turns += [min(runner.time({"data": data}, RUNS)) for runner in runners]
        best = [min(old, new * 1e6) for old, new in zip(best, turns, strict=True)]
    for runner in runners:
        runner.close()
    return tuple(best)


def measured(case: Case, trials: int, seed: int) -> Row:
    """Tune with both, ours within a fifth of stock's time, and time what they made."""
    with TemporaryDirectory(prefix="tunesmith-cost-") as name:
        folder = Path(name)
        model, library, logs = model_of(case, folder), folder / "stock.so", folder / "logs"
        stock_seconds, stock = run_stock(case, library, trials, seed)
        seconds, ours = run_ours(model, logs, max(1.0, stock_seconds / SHARE - AROUND_S), seed)
        artifacts = []
        for label, records in (("tuned", logs), ("default", None)):
            output = folder / label
            compile_model(
                model, target="host", output=output, threads=1, exact=True, records=records
            )
            artifacts.append(output)
        stock_us, us, default_us = times_in_turns(case, library, artifacts)
    return Row(
        case=case.name,
        seed=seed,
        stock_trials=stock["ran"],
        stock_failed=stock["failed"],
        stock_seconds=stock_seconds,
        stock_us=stock_us,
        trials=ours["trials"],
        failed=ours["failed"],
        seconds=seconds,
        us=us,
        default_us=default_us,
    )


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the medians over seeds as Markdown."""
    head = (
        "| operator | seeds | stock: s | s a trial | us | ours: s | trials | us "
        "| untuned us | our time / stock's | stock us / ours |\n" + "|---" * 11 + "|\n"
    )
    known = [Row(**row) for row in rows]
    lines = [
        _line(name, [row for row in known if row.case == name])
        for name in dict.fromkeys(row.case for row in known)
    ]
    return head + "\n".join(lines) + "\n"


def _line(name: str, rows: Sequence[Row]) -> str:
    figures = (
        median(row.stock_seconds for row in rows),
        median(row.stock_seconds / max(1, row.stock_trials) for row in rows),
        median(row.stock_us for row in rows),
        median(row.seconds for row in rows),
        median(row.trials for row in rows),
        median(row.us for row in rows),
        median(row.default_us for row in rows),
        median(row.seconds / row.stock_seconds for row in rows),
        median(row.stock_us / row.us for row in rows),
    )
    return f"| {name} | {len(rows)} | " + " | ".join(f"{figure:.3g}" for figure in figures) + " |"


def _kept(rows: Iterable[dict[str, Any]], new: Row) -> list[dict[str, Any]]:
    others = [row for row in rows if (row["case"], row["seed"]) != (new.case, new.seed)]
    order = {case.name: number for number, case in enumerate(CASES)}
    return sorted([*others, asdict(new)], key=lambda row: (order[row["case"]], row["seed"]))


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2), show_default=True)
@click.option("--case", "names", multiple=True, help="Part of an operator's name; all if left out.")
@click.option("--trials", type=click.IntRange(1), default=64, show_default=True, help="Of stock.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS / "tuning_cost.json")
def main(seeds: tuple[int, ...], names: tuple[str, ...], trials: int, results: Path) -> None:
    """Compare and write the results after each operator."""
    cases = [case for case in CASES if not names or any(name in case.name for name in names)]
    for seed in seeds:
        for case in cases:
            row = measured(case, trials, seed)
            known = json.loads(results.read_text())["rows"] if results.is_file() else []
            document: dict[str, Any] = {"stock_trials": trials, "rows": _kept(known, row)}
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(document, indent=1) + "\n")
            results.with_suffix(".md").write_text(table(document["rows"]))
            click.echo(_line(case.name, [row]))


if __name__ == "__main__":
    main()
