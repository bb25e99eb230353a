"""``tunesmith logs import``: schedules from a database of MetaSchedule."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from compiler.commands.logs_options import (
    PATH,
    complain,
    folder_option,
    target_option,
    threads_option,
)
from compiler.commands.model_options import shape_option, value_option
from compiler.commands.output import json_option, print_facts, print_json, progress_reporter


@click.command("import")
@click.argument("database", metavar="DATABASE", type=PATH)
@click.option("--model", required=True, type=PATH, help="The ONNX file whose kernels are meant.")
@target_option
@folder_option
@threads_option
@shape_option
@value_option
@json_option
def command(
    database: Path,
    model: Path,
    target: str,
    folder: Path,
    threads: int | None,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    as_json: bool,
) -> None:
    """Take the best schedules of a model's kernels from the folder DATABASE.

    Each is replayed, compiled and run in a process of its own, and its numbers are compared with
    onnxruntime's, before it is kept: one that is wrong, crashes or hangs is named, and not used.
    """
    from compiler.onnx_import.load import load_model
    from compiler.record_import import import_records
    from compiler.target_spec import load_target

    spec = load_target(target)
    loaded = load_model(model, shapes=shapes, values=values)
    with progress_reporter() as report:
        done = import_records(database, loaded, spec, folder, threads=threads, report=report)
    if as_json:
        print_json(asdict(done))
        return
    complain(done.passed_over)
    print_facts([("records", str(done.records)), ("failed", str(done.failed))])
