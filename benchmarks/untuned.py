"""Speed without tuning: models beside onnxruntime and OpenVINO, and shares of the machine's peak.

    python benchmarks/untuned.py MODEL... --name MACHINE [--threads 1 --threads 2] [--peak MODEL]

Writes ``benchmarks/results/MACHINE.json`` and the same figures as a table, ``MACHINE.md``. With
``--peak`` a model is compiled with ``--exact`` for this machine and for x86-64-v3 and profiled: the
sum of its convolutions' (or products') operations over the sum of their times, as a share of the
multiply-add peak that is measured in the same run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from compiler.commands.output import progress_reporter
from compiler.measure.bench import OTHERS, bench
from compiler.measure.bench_result import BenchResult
from compiler.measure.profile import profile
from compiler.pipeline import compile as compile_model

RESULTS = Path(__file__).resolve().parent / "results"
PEAK_TARGETS = ("host", "x86-64-v3")
# Operators by the first word of their ONNX name; depthwise convolutions are bound by memory.
DENSE_OPERATORS = {"Conv": "convolutions", "MatMul": "products", "Gemm": "products"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakShare:
    """Work of one kind over its time, beside the peak of the same run."""

    model: str
    target: str
    kind: str
    gflops: float
    peak_gflops: float

    @property
    def share(self) -> float:
        return self.gflops / self.peak_gflops


def peak_shares(model: Path, target: str, runs: int) -> list[PeakShare]:
    """Profile a model compiled with `--exact`, one thread."""
    with TemporaryDirectory() as folder:
        artifact = compile_model(
            model, target=target, output=Path(folder) / "made", threads=1, exact=True, verify="skip"
        )
        result = profile(artifact.path, threads=1, runs=runs)
    shares = []
    for kind in sorted(set(DENSE_OPERATORS.values())):
        calls = [
            call
            for call in result.calls
            if DENSE_OPERATORS.get(call.operator.split("+")[0]) == kind
            and "depthwise" not in call.kernel
        ]
        operations = 2 * sum(call.rates.macs for call in calls)
        time_us = sum(call.rates.minimum_us for call in calls)
        if operations > 0.5 * 2 * result.total.macs:  # what the model is about
            shares.append(
                PeakShare(
                    model=model.stem,
                    target=target,
                    kind=kind,
                    gflops=operations / time_us / 1e3,
                    peak_gflops=result.peaks.fma_gflops,
                )
            )
    return shares


def table(document: dict[str, Any]) -> str:
    """Return the figures of a results file as Markdown."""
    results = document["results"]
    heads = [f"{one['settings']['threads']} thread(s)" for one in results]
    lines = [
        "| model | " + " | ".join(f"{h}: ms | to onnxruntime | to OpenVINO" for h in heads) + " |",
        "|---|" + "---|---|---|" * len(heads),
    ]
    for rows in zip(*(one["models"] for one in results), strict=True):
        cells = [rows[0]["model"]]
        for row in rows:
            engines = {engine["engine"]: engine for engine in row["engines"]}
            cells.append(f"{engines['tunesmith']['minimum_us'] / 1e3:.3g}")
            cells += [_ratio(engines[peer]["ratio"]) for peer in OTHERS]
        lines.append("| " + " | ".join(cells) + " |")
    means = ["geometric mean"]
    for one in results:
        means += ["", *(_ratio(one["geometric_mean"][peer]) for peer in OTHERS)]
    lines.append("| " + " | ".join(means) + " |")
    best = ", ".join(
        f"{one['geometric_mean_to_best']:.2f} with {one['settings']['threads']} thread(s)"
        for one in results
    )
    lines += ["", f"Geometric mean to the better of the two on each model: {best}."]
    for one in document["peak_shares"]:
        share = one["gflops"] / one["peak_gflops"]
        lines.append(
            f"`--exact`, {one['kind']} of {one['model']}, {one['target']}: {one['gflops']:.1f} "
            f"GFLOP/s, {share:.0%} of the measured {one['peak_gflops']:.1f}."
        )
    return "\n".join(lines) + "\n"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _document(results: Sequence[BenchResult], shares: Sequence[PeakShare]) -> dict[str, Any]:
    return {
        "results": [result.as_json() for result in results],
        "peak_shares": [asdict(share) | {"share": share.share} for share in shares],
    }


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, help="Of the results: the machine's processor.")
@click.option("--threads", multiple=True, type=click.IntRange(min=1), default=(1, 2))
@click.option("--runs", type=click.IntRange(min=5), default=15, show_default=True)
@click.option("--peak", multiple=True, type=click.Path(exists=True, path_type=Path))
def main(
    models: tuple[Path, ...], name: str, threads: tuple[int, ...], runs: int, peak: tuple[Path, ...]
) -> None:
    """Measure MODEL... and write the results."""
    with progress_reporter() as report:
        results = [
            bench(models, against=OTHERS, threads=count, runs=runs, report=report)
            for count in threads
        ]
        shares = [
            share
            for model in peak
            for target in PEAK_TARGETS
            for share in peak_shares(model, target, runs)
        ]
    document = _document(results, shares)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(table(document), encoding="utf-8")
    click.echo(table(document))


if __name__ == "__main__":
    main()
