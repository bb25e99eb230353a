"""``tunesmith logs``: tuning records, listed, compared with a model, moved and cleaned."""

from __future__ import annotations

import click

from compiler.commands.lazy_verbs import LazyVerbs
from compiler.commands.output import json_option

# The texts stand here so that ``--help`` imports no verb.
VERBS = {
    "list": "List targets that have records, and whether builds here use them.",
    "show": "Show the records of a target, or one record.",
    "coverage": "Show which kernels of a model have records.",
    "merge": "Bring the records of other folders into one.",
    "export": "Write a model's records as a database of MetaSchedule.",
    "import": "Read schedules from a database of MetaSchedule, and check them.",
    "prune": "Leave out records that nothing needs.",
    "check": "Read every line and name those that are no records.",
}


class _Logs(LazyVerbs):
    """Verbs that are imported on use."""

    verbs = VERBS
    modules = "compiler.commands.logs_"


@click.group("logs", cls=_Logs, invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Tuning records: FOLDER/<target>/<fingerprint>/*.jsonl, one record a line.

    A build uses the records of exactly its target, threads, TVM and rules. Without a command, list
    what tuning_logs has.
    """
    if ctx.invoked_subcommand is None:
        words = ["--json"] if as_json else []
        listing = command.get_command(ctx, "list")
        assert listing is not None
        listing.main(words, prog_name="tunesmith logs list", standalone_mode=False)
    elif as_json:
        ctx.fail(f"write `tunesmith logs {ctx.invoked_subcommand} ... --json`")
