"""``tunesmith logs prune``: leave out records that nothing needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from compiler.commands.logs_options import folder_option
from compiler.commands.output import json_option, print_facts, print_json
from compiler.tuning.prune import prune


@click.command("prune")
@folder_option
@click.option("--target", metavar="NAME", help="Records of this target only.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many records of a kernel stay, the best ones.",
)
@click.option("--stale", is_flag=True, help="Leave out records by other versions of TVM or rules.")
@click.option("--damaged", is_flag=True, help="Leave out lines that are no records.")
@click.option("--dry-run", is_flag=True, help="Say what would be left out, and change nothing.")
@json_option
def command(
    folder: Path,
    target: str | None,
    keep: int,
    stale: bool,
    damaged: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Leave out all but the best records of each kernel, and repeated ones.

    Records of schedules that failed stay, since a search must not try them again. A file that is
    being written stays as it is.
    """
    done = prune(
        folder, keep=keep, stale=stale, damaged=damaged, target=target or "*", dry_run=dry_run
    )
    if as_json:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    left_out = [(name, str(getattr(done, name))) for name in ("slower", "repeated", "stale")]
    print_facts([("kept", str(done.kept)), *left_out, ("damaged", str(done.damaged))])
    for file in done.in_use:
        click.echo(f"warning: {file} is being written and stays as it is", err=True)
