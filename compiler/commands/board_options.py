"""Options that name a board over RPC, for those who have a target of ours and a board."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from compiler.board_address import DEFAULT_TIMEOUT_S, BoardAddress, address_fault

_WORDS = {
    "`server`": "--rpc",
    "`tracker`": "--rpc-tracker",
    "`device_key`": "--rpc-key",
    "`timeout_s`": "--rpc-timeout",
}


def board_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--rpc``, ``--rpc-tracker``, ``--rpc-key`` and ``--rpc-timeout`` as one `board`."""

    @click.option(
        "--rpc",
        "server",
        metavar="HOST:PORT",
        help="Run on the board whose `python -m tvm.exec.rpc_server` listens there.",
    )
    @click.option(
        "--rpc-tracker",
        "tracker",
        metavar="HOST:PORT",
        help="Run on a board that TVM's tracker gives; needs --rpc-key.",
    )
    @click.option("--rpc-key", "device_key", metavar="KEY", help="Which kind of board.")
    @click.option(
        "--rpc-timeout",
        "timeout_s",
        metavar="SECONDS",
        type=click.IntRange(min=1),
        help=f"The longest that an answer of either may take.  [default: {DEFAULT_TIMEOUT_S}]",
    )
    @functools.wraps(command)
    def with_board(
        *arguments: Any,
        server: str | None,
        tracker: str | None,
        device_key: str | None,
        timeout_s: int | None,
        **options: Any,
    ) -> None:
        board = _board(server, tracker, device_key, timeout_s)
        command(*arguments, board=board, **options)

    return with_board


def _board(
    server: str | None, tracker: str | None, device_key: str | None, timeout_s: int | None
) -> BoardAddress | None:
    if all(option is None for option in (server, tracker, device_key, timeout_s)):
        return None
    fault = address_fault(
        server=server, tracker=tracker, device_key=device_key, timeout_s=timeout_s
    )
    if fault is not None:
        what, why = fault
        for key, option in _WORDS.items():
            what = what.replace(key, option)
        raise click.UsageError(f"{what}: {why}")
    return BoardAddress(
        server=server,
        tracker=tracker,
        device_key=device_key,
        timeout_s=timeout_s or DEFAULT_TIMEOUT_S,
    )
