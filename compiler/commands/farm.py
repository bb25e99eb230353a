"""``tunesmith farm``: boards that TVM's tracker gives away."""

from __future__ import annotations

import importlib

import click

from compiler.commands.output import json_option

# The texts stand here so that ``--help`` imports no verb.
VERBS = {"status": "Show the boards of a tracker: free, busy, waited for."}


class _Farm(click.Group):
    """Verbs that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        found = importlib.import_module(f"compiler.commands.farm_{cmd_name}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


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
