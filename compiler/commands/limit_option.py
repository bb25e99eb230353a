"""The option ``--limit``: what a compiled model may use, instead of what its target says."""

from __future__ import annotations

from collections.abc import Sequence

import click

from compiler.target_tables import LIMIT_NAMES


def parse_limit(text: str) -> tuple[str, int]:
    """Return the limit and its number: ``ram_bytes=65536`` -> ``("ram_bytes", 65536)``.

    Raises:
        click.BadParameter: not of that form, or no such limit.
    """
    name, _, number = text.partition("=")
    if name not in LIMIT_NAMES:
        raise click.BadParameter(f"'{name}' is no limit; limits are: {', '.join(LIMIT_NAMES)}")
    if not number.isdecimal():
        raise click.BadParameter(f"'{text}': write {name}=65536, a whole number")
    return name, int(number)


def _limits(
    _context: click.Context, _parameter: click.Parameter, texts: Sequence[str]
) -> dict[str, int]:
    return dict(map(parse_limit, texts))


limit_option = click.option(
    "--limit",
    "limits",
    multiple=True,
    callback=_limits,
    metavar="NAME=N",
    help="Replace a limit of the target: ram_bytes=65536. May be repeated.",
)
