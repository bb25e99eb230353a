"""What the verbs of ``tunesmith logs`` have in common: options, and how records are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.tuning.target_key import TargetKey, is_stale

if TYPE_CHECKING:
    from compiler.tuning.record import Measurement

PATH = click.Path(path_type=Path)

folder_option = click.option(
    "--log-dir",
    "folder",
    type=PATH,
    default="tuning_logs",
    show_default=True,
    help="The folder of records.",
)
target_option = click.option(
    "--target", required=True, help="A target's name, `host`, or a .toml file."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of a session; else the target's cores."
)


def state(key: TargetKey) -> str:
    """Return whether builds here may use records of this key."""
    return f"stale ({key.tools})" if is_stale(key) else "current"


def measured(measurement: Measurement) -> str:
    """Return the median with its unit."""
    if not measurement.values:
        return "-"
    if measurement.unit == "us":
        return f"{measurement.typical:,.1f} us"
    return f"{measurement.typical:,.0f} instructions"


def complain(lines: Sequence[str]) -> None:
    """Print what was passed over, on stderr."""
    for line in lines:
        click.echo(f"warning: passed over: {line}", err=True)


def say_stale(key: TargetKey, stale: Sequence[TargetKey]) -> None:
    """Print which records of the machine are by other tools, on stderr."""
    for other in stale:
        text = f"records of {other.name} by {other.tools} are stale: builds here are by {key.tools}"
        click.echo(f"warning: {text}", err=True)
