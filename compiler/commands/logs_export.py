"""``tunesmith logs export``: records as a database of MetaSchedule."""

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


@click.command("export")
@click.argument("model", metavar="MODEL", type=PATH)
@click.option("-o", "--output", "database", required=True, type=PATH, help="The folder to write.")
@target_option
@folder_option
@threads_option
@shape_option
@value_option
@json_option
def command(
    model: Path,
    database: Path,
    target: str,
    folder: Path,
    threads: int | None,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    as_json: bool,
) -> None:
    """Write the records of MODEL's kernels as a JSON database that MetaSchedule of TVM reads."""
    from compiler.onnx_import.load import load_model
    from compiler.record_exchange import export_records
    from compiler.target_spec import load_target

    spec = load_target(target)
    loaded = load_model(model, shapes=shapes, values=values)
    with progress_reporter() as report:
        done = export_records(loaded, spec, folder, database, threads=threads, report=report)
    if as_json:
        print_json(asdict(done))
        return
    complain(done.passed_over)
    print_facts([("records", str(done.records)), ("workloads", str(done.workloads))])
