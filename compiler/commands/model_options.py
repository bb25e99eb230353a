"""Options that say how to read an ONNX file: ``--shape`` and ``--value``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

Shape = tuple[int, ...]
Number = float | int | bool
Parsed = TypeVar("Parsed")


def parse_shape(text: str) -> tuple[str, Shape]:
    """Return the input and its shape: ``x=1x3x320x320`` -> ``("x", (1, 3, 320, 320))``.

    A name may itself hold ``=``; the last one counts.

    Raises:
        click.BadParameter: not of that form. Whether it fits the model is checked when it is read.
    """
    name, _, sizes = text.rpartition("=")
    if not name or not re.fullmatch(r"-?\d+(x-?\d+)*", sizes):
        raise click.BadParameter(f"'{text}': write NAME=1x3x224x224, numbers joined by x")
    return name, tuple(int(size) for size in sizes.split("x"))


def parse_value(text: str) -> tuple[str, Number]:
    """Return the input and its value: ``sr=16000`` -> ``("sr", 16000)``; true and false too.

    Raises:
        click.BadParameter: not of that form.
    """
    name, _, value = text.rpartition("=")
    if name and value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    for number in (int, float):
        try:
            parsed = number(value)
        except ValueError:
            continue
        if name:
            return name, parsed
    raise click.BadParameter(f"'{text}': write NAME=16000, a number, true or false")


def _named(
    parse: Callable[[str], tuple[str, Parsed]],
) -> Callable[[click.Context, click.Parameter, Sequence[str]], dict[str, Parsed]]:
    """Return a click callback that parses every text; two for one input are wrong usage."""

    def callback(
        _context: click.Context, _parameter: click.Parameter, texts: Sequence[str]
    ) -> dict[str, Parsed]:
        parsed: dict[str, Parsed] = {}
        for name, item in map(parse, texts):
            if name in parsed:
                raise click.BadParameter(f"input '{name}' is given twice")
            parsed[name] = item
        return parsed

    return callback


shape_option = click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1x3x224x224",
    callback=_named(parse_shape),
    help="Shape of an input with dynamic dimensions (the batch alone is 1 by default).",
)

value_option = click.option(
    "--value",
    "values",
    multiple=True,
    metavar="NAME=16000",
    callback=_named(parse_value),
    help="Make an input of one element a constant.",
)
