"""Groups of verbs that are imported on use: ``--help`` needs neither TVM nor NumPy."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click


def imported_command(module: str) -> click.Command:
    """Return the ``command`` of a module."""
    command = importlib.import_module(module).command
    if not isinstance(command, click.Command):
        raise TypeError(f"{module}.command is no click command")
    return command


class LazyVerbs(click.Group):
    """A group whose verb ``V`` is ``<modules>V.command``. A subclass names both."""

    verbs: Mapping[str, str]  # with the text of each
    modules: str
    title = "Commands"

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return imported_command(self.modules + cmd_name) if cmd_name in self.verbs else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section(self.title):
            formatter.write_dl(list(self.verbs.items()))
