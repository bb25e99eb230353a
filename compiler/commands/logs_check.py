"""``tunesmith logs check``: is every line a record?"""

from __future__ import annotations

from pathlib import Path

import click

from compiler.commands.logs_options import folder_option, state
from compiler.commands.output import json_option, print_facts, print_json
from compiler.tuning.summary import summarize


@click.command("check")
@folder_option
@json_option
@click.pass_context
def command(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Read every line and name those that are no records; then exit with 1.

    Builds pass such lines over: cut or edited ones, those of another target in a target's folder,
    and files where no build looks. A stale record is a record.
    """
    summary = summarize(folder)
    records = sum(one.records for one in summary.targets)
    stale = [one for one in summary.targets if one.is_stale]
    if as_json:
        print_json(
            {
                "records": records,
                "stale": sum(one.records for one in stale),
                "problems": list(summary.complaints),
            }
        )
    else:
        print_facts([("records", str(records)), ("problems", str(len(summary.complaints)))])
        for one in stale:
            name = f"{one.key.name}/{one.key.fingerprint[:12]}"
            click.echo(f"{name}: {one.records} records, {state(one.key)}")
        for line in summary.complaints:
            click.echo(line)
    if summary.complaints:
        ctx.exit(1)
