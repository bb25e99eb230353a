"""``tunesmith profile``: time every kernel of a compiled library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.commands.output import json_option, print_json, print_table, progress_reporter

if TYPE_CHECKING:
    from compiler.measure.profile_result import ProfileResult, Rates

_PATH = click.Path(path_type=Path)
_FIGURES = ("min us", "median us", "share", "GFLOP/s", "GB/s", "of peak")
_NAME_WIDTH = 40  # exporters make names of several hundred characters


@click.command("profile")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--inputs", type=_PATH, help="Arrays by input name (.npz); else drawn.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True)
@click.option(
    "--trace", type=_PATH, help="Write one further run here, as trace events for Perfetto."
)
@json_option
def command(
    folder: Path,
    inputs: Path | None,
    threads: int,
    runs: int,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Time every kernel call of the compiled library in DIR, longest first.

    The library is linked once more with clocks between its kernels; DIR itself has none and is not
    changed. Needs a C compiler.

    Shares and rates are of minimum times. GFLOP/s count direct convolution, two operations for
    each multiply-accumulate of the ONNX nodes. GB/s count inputs, weights and outputs once. The
    share of the peak is the larger of compute's and memory's, as measured on this machine with the
    same threads; more than 100 % of memory's means that tensors stayed in a cache.
    """
    from compiler.array_files import read_arrays
    from compiler.measure.profile import profile

    with progress_reporter() as report:
        result = profile(
            folder,
            inputs=read_arrays(inputs) if inputs else None,
            threads=threads,
            runs=runs,
            trace=trace,
            report=report,
        )
    if as_json:
        print_json(result.as_json())
        return
    if not inputs:
        click.echo("no --inputs: ran on drawn inputs", err=True)
    print_profile(result)


def print_profile(result: ProfileResult) -> None:
    """Print the calls with a total, the same by schedule, and what they were measured against."""
    _print_calls(result)
    click.echo()
    _print_schedules(result)
    click.echo()
    peaks, settings = result.peaks, result.settings
    click.echo(f"whole run: {result.run_minimum_us:,.1f} us, median {result.run_median_us:,.1f} us")
    click.echo(
        f"measured peaks: {peaks.fma_gflops:,.1f} GFLOP/s ({peaks.vector_bits}-bit vectors), "
        f"{peaks.memory_gbytes_per_s:,.1f} GB/s"
    )
    click.echo(f"{settings['threads']} thread(s), {settings['runs']} runs, {settings['cpu']}")


def _print_calls(result: ProfileResult) -> None:
    columns = ("call", "operator", "schedule", *_FIGURES, "bound", "ONNX nodes")
    rows = [
        (
            str(call.index),
            _short(call.operator),
            call.schedule,
            *_figures(call.rates, call.share),
            call.rates.bound,
            _nodes(call.onnx_nodes),
        )
        for call in result.longest_first
    ]
    total = result.total
    rows.append(("", "total", "", *_figures(total, 1.0), total.bound, ""))
    print_table(columns, rows, right=("call", *_FIGURES))


def _print_schedules(result: ProfileResult) -> None:
    columns = ("schedule", "calls", *_FIGURES, "bound")
    rows = [
        (part.schedule, str(part.calls), *_figures(part.rates, part.share), part.rates.bound)
        for part in result.schedules
    ]
    print_table(columns, rows, right=("calls", *_FIGURES))


def _figures(rates: Rates, share: float) -> tuple[str, ...]:
    return (
        f"{rates.minimum_us:,.1f}",
        f"{rates.median_us:,.1f}",
        f"{share:.1%}",
        f"{rates.gflops:.1f}" if rates.macs else "-",
        f"{rates.gbytes_per_s:.1f}",
        f"{rates.peak_share:.0%}",
    )


def _nodes(names: tuple[str, ...]) -> str:
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    return _short(names[0]) + more if names else "-"


def _short(name: str) -> str:
    """Keep both ends of a long name: they are what differs."""
    if len(name) <= _NAME_WIDTH:
        return name
    half = (_NAME_WIDTH - 3) // 2
    return f"{name[:half]}...{name[-half:]}"
