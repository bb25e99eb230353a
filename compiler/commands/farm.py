"""``tunesmith farm``: boards that TVM's tracker gives away."""

from __future__ import annotations

import click

from compiler.commands.lazy_verbs import LazyVerbs
from compiler.commands.output import json_option

# The texts stand here so that ``--help`` imports no verb.
VERBS = {"status": "Show the boards of a tracker: free, busy, waited for."}


class _Farm(LazyVerbs):
    """Verbs that are imported on use."""

    verbs = VERBS
    modules = "compiler.commands.farm_"


@click.group("farm", cls=_Farm, invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Boards that register with TVM's tracker (`python -m tvm.exec.rpc_tracker`).

    `tunesmith tune --runner rpc --tracker HOST:PORT --key KEY` measures on all of a key at once.
    Without a command, show what the tracker of this machine has.
    """
    if ctx.invoked_subcommand is None:
        words = ["--json"] if as_json else []
        status = command.get_command(ctx, "status")
        assert status is not None
        status.main(words, prog_name="tunesmith farm status", standalone_mode=False)
    elif as_json:
        ctx.fail(f"write `tunesmith farm {ctx.invoked_subcommand} ... --json`")
