"""The texts of `--shape` and `--value`."""

from __future__ import annotations

import click
import pytest

from compiler.commands.model_options import parse_shape, parse_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1x3x320x320", ("x", (1, 3, 320, 320))),
        ("ids=128", ("ids", (128,))),
        ("serving_default_input_2:0=1x43844x1", ("serving_default_input_2:0", (1, 43844, 1))),
        ("a=b=2x3", ("a=b", (2, 3))),
        ("x=-1x3", ("x", (-1, 3))),  # refused later, with the input's name
    ],
)
def test_shape(text: str, expected: tuple[str, tuple[int, ...]]) -> None:
    assert parse_shape(text) == expected


@pytest.mark.parametrize("text", ["x", "x=", "=1x2", "x=1,2", "x=axb", "x=1x", "x=1.5x2"])
def test_wrong_shape(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write NAME=1x3x224x224") as caught:
        parse_shape(text)
    assert f"'{text}'" in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sr=16000", ("sr", 16000)),
        ("t=-0.5", ("t", -0.5)),
        ("t=1e-3", ("t", 0.001)),
        ("flag=True", ("flag", True)),
        ("flag=false", ("flag", False)),
    ],
)
def test_value(text: str, expected: tuple[str, float]) -> None:
    assert parse_value(text) == expected
    assert type(parse_value(text)[1]) is type(expected[1])


@pytest.mark.parametrize("text", ["sr", "sr=", "=3", "sr=abc", "=true"])
def test_wrong_value(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write NAME=16000"):
        parse_value(text)
