"""Divisions by a constant that become products, and those that must not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.stages.divisions import is_power_of_two, reciprocal
from compiler.stages.provenance import bindings
from tests.lowered import loaded, staged
from tests.onnx_models import make_model


def quotient_model(divisor: float, reader: str, *, also_output: bool = False) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Div", ["x", "divisor"], ["quotient"], name="div"),
        helper.make_node(reader, ["quotient"], ["y"], name="reader"),
    ]
    names = ("y", "quotient") if also_output else ("y",)
    return make_model(
        nodes,
        inputs={"x": ("float32", [4, 8])},
        outputs={name: ("float32", [4, 8]) for name in names},
        constants={"divisor": np.array(divisor, np.float32)},
    )


def operators(model: onnx.ModelProto) -> list[str]:
    mod = staged(loaded(model), until="eliminate-common")
    names = [getattr(getattr(b.value, "op", None), "name", "") for b in bindings(mod["main"])]
    return [name.removeprefix("relax.") for name in names]


def test_smooth_readers_get_a_product() -> None:
    assert "divide" not in operators(quotient_model(1.4142135, "Erf"))


def test_a_power_of_two_is_exact_for_every_reader() -> None:
    assert "divide" not in operators(quotient_model(0.125, "Floor"))


def test_what_is_rounded_stays_a_quotient() -> None:
    assert "divide" in operators(quotient_model(0.1, "Floor"))


def test_an_output_stays_a_quotient() -> None:
    assert "divide" in operators(quotient_model(1.4142135, "Erf", also_output=True))


@pytest.mark.parametrize("divisor", [0.0, np.inf, np.nan, 1e-39, 3e38])
def test_no_reciprocal_of_what_has_no_normal_one(divisor: float) -> None:
    assert reciprocal(np.array(divisor, np.float32)) is None


def test_powers_of_two() -> None:
    assert is_power_of_two(np.array([8.0, 0.25, -2.0], np.float32))
    assert not is_power_of_two(np.array([8.0, 3.0], np.float32))
