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
    from compiler.demo import DemoResult, EngineResult


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
    """Compile a small trained model for this machine, check it and compare it with onnxruntime.

    The model reads handwritten digits (MNIST, 28x28 pixels).
    """
    from compiler.demo import run_demo

    with progress_reporter() as report:
        result = run_demo(output, report)
    if as_json:
        print_json({**asdict(result), "folder": str(result.folder)})
    else:
        _print_result(result)
