"""C names and strings."""

from __future__ import annotations

import pytest

from compiler.artifact.names import c_identifier, c_string, member_names, symbol_prefix


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("x", "x"),
        ("input:0", "input_0"),
        ("serving/default__x__", "serving_default_x"),
        ("1.weight", "input_1_weight"),
        ("Ünï", "n"),
        ("::", "input"),
        ("", "input"),
    ],
)
def test_identifier(name: str, cleaned: str) -> None:
    assert c_identifier(name, fallback="input") == cleaned


def test_members_are_unique_and_no_keywords() -> None:
    names = ["x.1", "x_1", "x:1", "int", "class", "x_1_2"]
    assert member_names(names, fallback="input") == (
        *("x_1", "x_1_2", "x_1_3", "int_", "class_", "x_1_2_2"),
    )


@pytest.mark.parametrize("taken", ["math", "Time", "pthread", "m", "tunesmith"])
def test_prefix_leaves_names_of_libc_alone(taken: str) -> None:
    assert symbol_prefix(taken) == f"{taken}_model"


def test_prefix_of_a_usual_name() -> None:
    assert symbol_prefix("mobilenetv2_f32") == "mobilenetv2_f32"


def test_string_can_end_neither_literal_nor_comment() -> None:
    assert c_string('a"b\\??/*/\n\u00e9') == '"a\\042b\\134\\077\\077/\\052/\\012\\303\\251"'
