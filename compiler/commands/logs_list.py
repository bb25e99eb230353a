"""``tunesmith logs list``: which targets have records."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from compiler.commands.logs_options import complain, folder_option, state
from compiler.commands.output import json_option, print_json, print_table
from compiler.tuning.summary import TargetSummary, summarize

_COLUMNS = ("target", "fingerprint", "threads", "records", "workloads", "failed", "files", "state")


@click.command("list")
@folder_option
@json_option
def command(folder: Path, as_json: bool) -> None:
    """List targets that have records, and whether builds here use them.

    `workloads` are the kernels that a build finds a record for; `failed` are records of schedules
    that gave wrong numbers or could not be run.
    """
    summary = summarize(folder)
    if as_json:
        targets = [
            {**asdict(one.key), **{k: v for k, v in asdict(one).items() if k != "key"}}
            for one in summary.targets
        ]
        print_json({"targets": targets, "passed_over": list(summary.complaints)})
        return
    complain(summary.complaints)
    print_table(_COLUMNS, [_row(one) for one in summary.targets], right=_COLUMNS[2:7])


def _row(one: TargetSummary) -> tuple[str, ...]:
    counts = (one.key.threads, one.records, one.workloads, one.failed, one.files)
    return (one.key.name, one.key.fingerprint[:12], *map(str, counts), state(one.key))
