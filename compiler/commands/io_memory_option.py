"""``--io-memory``: whether inputs and outputs are planned among the buffers of the arena."""

from __future__ import annotations

import click

io_memory_option = click.option(
    "--io-memory",
    type=click.Choice(["caller", "arena"]),
    default="caller",
    show_default=True,
    help="Where inputs and outputs lie: in memory of the caller's for all of a run, or in the "
    "arena, where results take their place (microcontrollers).",
)
