"""``tunesmith bench``: time models beside onnxruntime and OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.commands.board_options import board_options
from compiler.commands.model_options import shape_option, value_option
from compiler.commands.number_options import precision_option, weights_option
from compiler.commands.output import json_option, print_json, print_table, progress_reporter

if TYPE_CHECKING:
    from compiler.board_address import BoardAddress
    from compiler.measure.bench_result import BenchResult, ModelTiming
    from compiler.onnx_import.model import Weights
    from compiler.target_spec import Precision


@click.command("bench")
@click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--target", default="host", show_default=True)
@click.option(
    "--against",
    default="onnxruntime",
    show_default=True,
    help="Peers: onnxruntime,openvino, and with --records untuned.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Of each engine."
)
@shape_option
@value_option
@precision_option
@weights_option
@click.option(
    "--records", type=click.Path(path_type=Path), help="Folder of tuning records of ours."
)
@click.option("--verify", is_flag=True, help="Check each library before it is timed.")
@board_options
@json_option
def command(
    models: tuple[Path, ...],
    target: str,
    against: str,
    threads: int,
    runs: int,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    precision: Precision,
    weights: Weights,
    records: Path | None,
    verify: bool,
    board: BoardAddress | None,
    as_json: bool,
) -> None:
    """Compile each MODEL and time it beside other engines.

    Every engine has its own process, the same inputs, threads and processors, and runs while the
    others wait. A ratio over 1 says that the compiled library is faster. On a board over RPC the
    library alone is timed, there.
    """
    from compiler.measure.bench import bench

    with progress_reporter() as report:
        result = bench(
            models,
            target=target,
            against=[name.strip() for name in against.split(",") if name.strip()],
            threads=threads,
            runs=runs,
            shapes=shapes,
            values=values,
            precision=precision,
            weights=weights,
            records=records,
            verify=verify,
            board=board,
            report=report,
        )
    if as_json:
        print_json(result.as_json())
    else:
        print_bench(result)


def print_bench(result: BenchResult) -> None:
    """Print one row per model and engine, then the means over models."""
    columns = ("model", "engine", "min us", "median us", "ratio", "ratio of medians")
    rows = [row for model in result.models for row in _rows(model)]
    print_table(columns, rows, right=columns[2:])
    for peer in result.peers:
        mean = result.geometric_mean(peer)
        if mean is not None:
            click.echo(f"geometric mean of ratios to {peer}: {mean:.2f}")
    if len(result.peers) > 1 and result.geometric_mean_to_best is not None:
        click.echo(f"geometric mean of ratios to the best: {result.geometric_mean_to_best:.2f}")
    settings = result.settings
    click.echo(f"{settings['threads']} thread(s), {settings['runs']} runs, {_machine(result)}")


def _machine(result: BenchResult) -> str:
    """A board where there is one, else this machine."""
    ours = (model.timings[0] for model in result.models)
    boards = (timing.settings.get("machine", "") for timing in ours if timing.seconds)
    return next(filter(None, boards), str(result.settings["cpu"]))


def _rows(model: ModelTiming) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for timing in model.timings:
        if timing.instruction_count:
            each = model.instructions_for_each_mac
            text = f"{timing.instruction_count:,} instructions"
            text += f", {each:.3f} for each multiply-accumulate" if each else ""
            rows.append((model.model, timing.engine, "-", "-", "-", text))
            continue
        if timing.error:
            rows.append((model.model, timing.engine, "-", "-", "-", timing.error))
            continue
        rows.append(
            (
                model.model,
                timing.engine,
                f"{timing.minimum_us:,.1f}",
                f"{timing.median_us:,.1f}",
                f"{model.ratio(timing.engine):.2f}",
                f"{model.median_ratio(timing.engine):.2f}",
            )
        )
    return rows
