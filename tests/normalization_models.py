"""Normalisations written out in primitive operators, as exporters do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import make_model, weights

SQUARES = ("Pow", "Mul")
ROOTS = ("Sqrt-Div", "Sqrt-Reciprocal-Mul")


def written_out_model(
    shape: Sequence[int],
    *,
    centred: bool = False,
    square: str = "Pow",
    root: str = "Sqrt-Div",
    gamma: bool = True,
    beta: bool = False,
    axis: int = -1,
    also: str = "",
) -> onnx.ModelProto:
    """x -> normalisation along `axis` -> y.

    Args:
        centred: the mean is subtracted first: layer normalisation.
        square, root: one of SQUARES, of ROOTS.
        gamma, beta: constants for each column, multiplied and added.
        also: a value between that is an output too.
    """
    nodes: list[onnx.NodeProto] = []

    def step(op_type: str, operands: list[str], result: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op_type, operands, [result], name=result, **attributes))
        return result

    constants = {
        "two": np.array(2, np.float32),
        "epsilon": np.array(1e-5, np.float32),
        "gamma": weights(shape[-1], seed=1),
        "beta": weights(shape[-1], seed=2),
    }
    row = "x"
    if centred:
        mean = step("ReduceMean", ["x"], "mean", axes=[axis], keepdims=1)
        row = step("Sub", ["x", mean], "distance")
    squares = step(square, [row, "two" if square == "Pow" else row], "squares")
    variance = step("ReduceMean", [squares], "variance", axes=[axis], keepdims=1)
    deviation = step("Sqrt", [step("Add", [variance, "epsilon"], "sum")], "deviation")
    if root == "Sqrt-Div":
        out = step("Div", [row, deviation], "normal")
    else:
        out = step("Mul", [row, step("Reciprocal", [deviation], "inverse")], "normal")
    out = step("Mul", ["gamma", out], "scaled") if gamma else out
    out = step("Add", [out, "beta"], "shifted") if beta else out
    step("Identity", [out], "y")
    outputs = {"y": ("float32", list(shape))} | ({also: ("float32", None)} if also else {})
    used = {name for node in nodes for name in node.input}
    return make_model(
        nodes,
        inputs={"x": ("float32", list(shape))},
        outputs=outputs,
        constants={name: array for name, array in constants.items() if name in used},
        opset=17,
    )
