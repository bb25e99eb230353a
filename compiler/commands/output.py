"""How verbs talk: results on stdout (tables or JSON), errors and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from compiler.errors import CompilerError

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of tables."
)


def print_json(document: Any) -> None:
    """Print one JSON document, keys in the order given."""
    click.echo(json.dumps(document, indent=2))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print `rows` under `columns`, aligned with spaces; those named in `right` to the right."""
    for line in table_lines(columns, rows, right=right):
        click.echo(line)


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a table: heads, a rule, one line a row."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, cell, width in zip(columns, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(columns), line(["-" * width for width in widths]), *map(line, rows)]


def print_facts(facts: Sequence[tuple[str, str]], *, indent: int = 0) -> None:
    """Print pairs as two aligned columns."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{' ' * indent}{name.ljust(width)}  {value}".rstrip())


def print_error(error: CompilerError, *, as_json: bool) -> None:
    """Print what, why and fix on stderr: three lines, or one JSON document."""
    if as_json:
        parts = {"what": error.what, "why": error.why, "fix": error.fix}
        click.echo(json.dumps({"error": {"kind": type(error).__name__, **parts}}), err=True)
    else:
        click.echo(f"error: {error}", err=True)


@contextmanager
def progress_reporter() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the name of the stage at work, on a terminal only.

    The line is redrawn in place on stderr and gone at the end.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status("starting", console=Console(stderr=True)) as status:
        yield lambda stage: status.update(stage)
