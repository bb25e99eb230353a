"""``tunesmith run``: run a compiled library on arrays of the user or on drawn ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.commands.board_options import board_options
from compiler.commands.output import json_option, print_json, print_table

if TYPE_CHECKING:
    import numpy as np

    from compiler.board_address import BoardAddress

_FIRST_COUNT = 4  # values of an output that the table shows


@click.command("run")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--inputs", type=click.Path(path_type=Path), help="Arrays by input name (.npz); else drawn."
)
@click.option("--outputs", type=click.Path(path_type=Path), help="Write the outputs here (.npz).")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@board_options
@json_option
def command(
    folder: Path,
    inputs: Path | None,
    outputs: Path | None,
    threads: int,
    board: BoardAddress | None,
    as_json: bool,
) -> None:
    """Run the compiled library in DIR once and show its outputs.

    Without --inputs, arrays are drawn, the same ones every time.
    """
    from compiler.array_files import read_arrays, write_arrays
    from compiler.drawn_inputs import drawn_inputs
    from compiler.runners.open_runner import open_runner

    arrays = read_arrays(inputs) if inputs else None
    with open_runner(folder, threads=threads, board=board) as runner:
        given = arrays if arrays is not None else drawn_inputs(runner.inputs)
        results = runner.run([given]).outputs[0]
    if outputs:
        write_arrays(outputs, results)
    summary = [_summary(name, array) for name, array in results.items()]
    if as_json:
        print_json({"inputs": str(inputs) if inputs else "drawn", "outputs": summary})
        return
    if not inputs:
        click.echo("no --inputs: ran on drawn inputs", err=True)
    columns = ("output", "dtype", "shape", "min", "max", "mean", "first values")
    print_table(columns, [_row(facts) for facts in summary], right=columns[3:6])


def _summary(name: str, array: np.ndarray) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size:
        wide = array.astype("float64")
        statistics = {"min": wide.min(), "max": wide.max(), "mean": wide.mean()}
        facts |= {key: _number(float(value)) for key, value in statistics.items()}
    facts["first"] = [_number(value) for value in array.ravel()[:_FIRST_COUNT].tolist()]
    return facts


def _number(value: float) -> float | None:
    """JSON has no word for NaN and infinity: they are null."""
    return value if math.isfinite(value) else None


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    statistics = (_text(facts[key]) if key in facts else "-" for key in ("min", "max", "mean"))
    first = " ".join(_text(value) for value in facts["first"])
    shape = "x".join(map(str, facts["shape"])) or "scalar"
    count = math.prod(facts["shape"])
    return (
        *(facts["name"], facts["dtype"], shape, *statistics),
        first + (" ..." if count > _FIRST_COUNT else ""),
    )


def _text(value: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
