"""``tunesmith logs list``: which targets have records."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from compiler.commands.logs_options import complain, folder_option, state
from compiler.commands.output import json_option, print_json, print_table
from compiler.tuning.summary import TargetSummary, summarize

_COUNTS = ("threads", "records", "workloads", "choices", "failed", "rejected", "files")
_COLUMNS = ("target", "fingerprint", *_COUNTS, "state")


@click.command("list")
@folder_option
@json_option
def command(folder: Path, as_json: bool) -> None:
    """List targets that have records, and whether builds here use them.

    `workloads` are the kernels that a build finds a schedule for, `choices` the operators whose
    algorithm or layout it takes from a record; `failed` are records of what gave wrong numbers or
    could not be run, `rejected` what made a whole model slower.
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
    print_table(_COLUMNS, [_row(one) for one in summary.targets], right=_COUNTS)


def _row(one: TargetSummary) -> tuple[str, ...]:
    counts = (one.key.threads, *(getattr(one, name) for name in _COUNTS[1:]))
    return (one.key.name, one.key.fingerprint[:12], *map(str, counts), state(one.key))
