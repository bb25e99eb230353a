"""``tunesmith demo``: the main job on a trained model that is in the repository."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.commands.output import (
    json_option,
    print_facts,
    print_json,
    print_table,
    progress_reporter,
)

if TYPE_CHECKING:
    from compiler.demo import DemoResult


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Where the compiled library goes.",
)
@json_option
def command(output: Path, as_json: bool) -> None:
    """Compile a small trained model for this machine, check it, compare it with onnxruntime.

    The model reads handwritten digits (MNIST, 28x28 pixels).
    """
    from compiler.demo import run_demo

    with progress_reporter() as report:
        result = run_demo(output, report)
    if as_json:
        print_json({**asdict(result), "folder": str(result.folder)})
    else:
        _print_result(result)


def _print_result(result: DemoResult) -> None:
    count = result.ours.image_count
    click.echo(f"A network that reads handwritten digits, on {count:,} images it has never seen,")
    click.echo("one image at a time on one thread:\n")
    columns = ("", "right answers", "time per image")
    rows = [
        (engine.engine, f"{engine.accuracy_percent:.1f} %", f"{engine.us_per_image:.1f} us")
        for engine in (result.ours, result.reference)
    ]
    print_table(columns, rows, right=columns[1:])
    click.echo(
        f"\nThe two outputs differ by at most {result.largest_difference:.1e} "
        f"(the largest output is {result.largest_output:.1f}).\n"
    )
    weights = f"{result.weight_bytes:,} bytes of weights in it"
    facts = [
        ("library", f"{result.library_bytes:,} bytes, {weights}"),
        ("memory for a run", f"{result.arena_bytes:,} bytes"),
        ("needs at run time", ", ".join(result.needs) or "not known here: there is no readelf"),
        ("it lies in", f"{result.folder} (lib/, include/, src/, CMakeLists.txt, reports)"),
    ]
    print_facts(facts)
    click.echo(f"\nNext: tunesmith run {result.folder}")
