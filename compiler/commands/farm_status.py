"""``tunesmith farm status``: what a tracker has."""

from __future__ import annotations

import click

from compiler.board_address import split_endpoint
from compiler.commands.output import json_option, print_json, print_table
from compiler.runners.tracker import Farm, ask_tracker

_DEFAULT_TRACKER = "127.0.0.1:9190"  # the port that TVM's tracker takes first
_TIMEOUT_S = 10
_COUNTS = ("boards", "free", "busy", "waiting")


@click.command("status")
@click.option(
    "--tracker",
    metavar="HOST:PORT",
    default=_DEFAULT_TRACKER,
    show_default=True,
    help="Where `python -m tvm.exec.rpc_tracker` listens.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.IntRange(min=1),
    default=_TIMEOUT_S,
    show_default=True,
    help="The longest that the answer may take.",
)
@json_option
def command(tracker: str, timeout_s: int, as_json: bool) -> None:
    """Show the boards of a tracker by key: how many are free, busy and waited for.

    A board that hangs stays what it was: a tracker sees only that its connection has ended.
    """
    if split_endpoint(tracker) is None:
        raise click.UsageError(f"--tracker {tracker!r}: an address is HOST:PORT")
    farm = ask_tracker(tracker, timeout_s)
    if as_json:
        print_json(_document(farm))
        return
    if not farm.keys:
        click.echo(
            f"{tracker} has no boards (`python -m tvm.exec.rpc_server --tracker {tracker} "
            "--key KEY` registers one)"
        )
        return
    rows = [
        (one.key, *map(str, (one.boards, one.free, one.busy, one.waiting))) for one in farm.keys
    ]
    print_table(("key", *_COUNTS), rows, right=_COUNTS)
    if farm.servers:
        click.echo()
        print_table(("server", "key"), [(one.address, one.key) for one in farm.servers])


def _document(farm: Farm) -> dict[str, object]:
    return {
        "tracker": farm.tracker,
        "keys": [
            {"key": one.key, **{name: getattr(one, name) for name in _COUNTS}} for one in farm.keys
        ],
        "servers": [{"key": one.key, "address": one.address} for one in farm.servers],
    }
