"""What numbers a library computes with and stores: options of every verb that compiles."""

from __future__ import annotations

import click

from compiler.precision import PRECISIONS

precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="Type of products' factors; tf32: tensor cores; fp16: tensor cores or Arm; bf16: x86.",
)
weights_option = click.option(
    "--weights",
    type=click.Choice(["model", "fp16"]),
    default="model",
    show_default=True,
    help="How float weights are stored: as in MODEL, or in 16 bits, widened where they are read.",
)
