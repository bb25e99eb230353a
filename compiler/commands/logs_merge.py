"""``tunesmith logs merge``: records of other folders into one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from compiler.commands.logs_options import PATH, complain, folder_option
from compiler.commands.output import json_option, print_facts, print_json
from compiler.tuning.merge import merge


@click.command("merge")
@click.argument("sources", metavar="FOLDER...", type=PATH, nargs=-1, required=True)
@folder_option
@json_option
def command(sources: tuple[Path, ...], folder: Path, as_json: bool) -> None:
    """Append the records of each FOLDER that --log-dir lacks; the FOLDERs stay as they are.

    Every record keeps the target that it was measured on.
    """
    merged = merge(sources, folder)
    if as_json:
        print_json(asdict(merged))
        return
    complain(merged.passed_over)
    print_facts([("added", str(merged.added)), ("known", str(merged.known))])
