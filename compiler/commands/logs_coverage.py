"""``tunesmith logs coverage``: which kernels of a model have records."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.commands.logs_options import (
    PATH,
    complain,
    folder_option,
    measured,
    say_stale,
    target_option,
    threads_option,
)
from compiler.commands.model_options import shape_option, value_option
from compiler.commands.output import json_option, print_json, print_table, progress_reporter
from compiler.tuning.record import choice_text

if TYPE_CHECKING:
    from compiler.program import ChoiceOutcome
    from compiler.record_coverage import Coverage, KernelCoverage


@click.command("coverage")
@click.argument("model", metavar="MODEL", type=PATH)
@target_option
@folder_option
@threads_option
@click.option("--exact", is_flag=True, help="As of `tunesmith compile`.")
@shape_option
@value_option
@json_option
def command(
    model: Path,
    target: str,
    folder: Path,
    threads: int | None,
    exact: bool,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    as_json: bool,
) -> None:
    """Show which kernels of MODEL have records for a target, and what share of its work they do.

    Kernels are those that `tunesmith compile` makes, with the choices that records make for
    operators; each record is replayed. The share is that of the multiply-accumulates.
    """
    from compiler.onnx_import.load import load_model
    from compiler.record_coverage import record_coverage
    from compiler.target_spec import load_target

    spec = load_target(target)
    loaded = load_model(model, shapes=shapes, values=values)
    with progress_reporter() as report:
        coverage = record_coverage(
            loaded, spec, folder, threads=threads, exact=exact, report=report
        )
    if as_json:
        print_json(_document(coverage))
        return
    complain(coverage.passed_over)
    say_stale(coverage.key, coverage.stale)
    _print(coverage)


def _document(coverage: Coverage) -> dict[str, Any]:
    return {
        "target": asdict(coverage.key),
        "macs_share": coverage.macs_share,
        "kernels": [
            {
                "kernel": one.kernel,
                "workload": one.workload,
                "calls": one.calls,
                "macs": one.macs,
                "schedule": asdict(one.outcome),
                "record": one.record.id if one.record else None,
            }
            for one in coverage.kernels
        ],
        "choices": [asdict(one) for one in coverage.choices],
        "passed_over": list(coverage.passed_over),
        "stale": [asdict(key) for key in coverage.stale],
    }


def _print(coverage: Coverage) -> None:
    total = sum(one.macs for one in coverage.kernels)
    columns = ("kernel", "calls", "work", "schedule", "measured", "why not a record")
    rows = [_row(one, total) for one in coverage.kernels]
    print_table(columns, rows, right=("calls", "work", "measured"))
    if coverage.choices:
        click.echo()
        chosen = [_choice_row(one) for one in coverage.choices]
        print_table(("operator", "record", "choice", "why not taken"), chosen)
    covered = sum(one.is_covered for one in coverage.kernels)
    click.echo(
        f"\n{covered} of {len(coverage.kernels)} kernels have records that can be used: "
        f"{coverage.macs_share:.1%} of the {'work' if total else 'calls'}"
    )


def _choice_row(one: ChoiceOutcome) -> tuple[str, ...]:
    return (one.signature, one.record, choice_text(one.choice), one.passed_over)


def _row(one: KernelCoverage, total: int) -> tuple[str, ...]:
    share = f"{one.macs / total:.1%}" if total else "-"
    reason = "" if one.is_covered else one.outcome.reason.partition(";")[0]
    figure = measured(one.record.measurement) if one.record else "-"
    schedule = f"{one.outcome.source} {one.outcome.name}"
    return (one.kernel, str(one.calls), share, schedule, figure, reason)
