"""Counts of operators, parameters, multiply-accumulates and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Inventory, OpCount
from tests.onnx_models import (
    attention_model,
    conv_net_model,
    make_model,
    qdq_model,
    save,
    weights,
)


def inventory(tmp_path: Path, model: Any) -> Inventory:
    return load_model(save(model, tmp_path / "m.onnx")).inventory


def macs(
    tmp_path: Path,
    op_type: str,
    inputs: Sequence[Sequence[int]],
    attributes: Mapping[str, Any],
    dtypes: Sequence[str] | None = None,
) -> int:
    names = [f"i{position}" for position in range(len(inputs))]
    dtypes = dtypes or ["float32"] * len(inputs)
    model = make_model(
        [helper.make_node(op_type, names, ["y"], name="node", **attributes)],
        inputs={n: (d, shape) for n, d, shape in zip(names, dtypes, inputs, strict=True)},
        outputs={"y": ("int32" if "Integer" in op_type else "float32", None)},
    )
    return inventory(tmp_path, model).node_macs.get("node", 0)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "expected"),
    [
        # output 8 x 6 x 6, each 4 * 3 * 3
        ("Conv", [[1, 4, 8, 8], [8, 4, 3, 3]], {}, 8 * 36 * 36),
        ("Conv", [[2, 4, 8, 8], [8, 2, 3, 3]], {"group": 2}, 2 * 8 * 36 * 18),
        ("Conv", [[1, 4, 8, 8], [4, 1, 3, 3]], {"group": 4, "strides": [2, 2]}, 4 * 9 * 9),
        ("Conv", [[1, 4, 16], [8, 4, 5]], {}, 8 * 12 * 20),
        # every input element meets 8 filters of 3 x 3
        ("ConvTranspose", [[1, 4, 8, 8], [4, 8, 3, 3]], {"strides": [2, 2]}, 4 * 64 * 8 * 9),
        ("ConvTranspose", [[1, 4, 8, 8], [4, 4, 3, 3]], {"group": 2}, 4 * 64 * 4 * 9),
        ("Gemm", [[3, 5], [5, 7]], {}, 3 * 5 * 7),
        ("Gemm", [[5, 3], [7, 5]], {"transA": 1, "transB": 1}, 3 * 5 * 7),
        ("MatMul", [[2, 3, 4, 5], [5, 6]], {}, 2 * 3 * 4 * 5 * 6),
        ("MatMul", [[5], [5]], {}, 5),
        ("Einsum", [[2, 3, 4], [2, 4, 5]], {"equation": "bij,bjk->bik"}, 2 * 3 * 4 * 5),
        ("Relu", [[2, 3]], {}, 0),
    ],
)
def test_macs(
    tmp_path: Path,
    op_type: str,
    inputs: Sequence[Sequence[int]],
    attributes: Mapping[str, Any],
    expected: int,
) -> None:
    assert macs(tmp_path, op_type, inputs, attributes) == expected


def test_macs_of_integer_operators(tmp_path: Path) -> None:
    assert macs(tmp_path, "MatMulInteger", [[3, 5], [5, 7]], {}, ["uint8", "int8"]) == 3 * 5 * 7
    images = [[1, 4, 8, 8], [8, 4, 3, 3]]
    assert macs(tmp_path, "ConvInteger", images, {}, ["uint8", "int8"]) == 8 * 36 * 36


def test_classifier(tmp_path: Path) -> None:
    counts = inventory(tmp_path, conv_net_model(size=16))
    assert counts.node_macs == {
        "stem": 8 * 64 * 27,
        "depthwise": 8 * 64 * 9,
        "pointwise": 8 * 64 * 8,
        "dense": 80,
    }
    assert counts.mac_count == sum(counts.node_macs.values())
    assert counts.parameter_count == 216 + 8 + 72 + 8 + 64 + 8 + 80 + 10
    assert counts.weight_bytes == 4 * counts.parameter_count
    assert counts.operators[:2] == (
        OpCount(domain="", op_type="Conv", count=3),
        OpCount(domain="", op_type="Relu", count=2),
    )
    assert [op.op_type for op in counts.operators[2:]] == sorted(
        op.op_type for op in counts.operators[2:]
    )


def test_arena_is_the_largest_sum_of_live_values(tmp_path: Path) -> None:
    # stem_relu's value lives on to the residual: at the pointwise conv r0, r1 and c2 are live.
    one = 8 * 8 * 8 * 4
    assert inventory(tmp_path, conv_net_model(size=16)).arena_bytes_estimate == 3 * one


def test_arena_of_inputs_and_outputs_is_nothing(tmp_path: Path) -> None:
    model = make_model(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        inputs={"x": ("float32", [1000])},
        outputs={"y": ("float32", [1000])},
    )
    assert inventory(tmp_path, model).arena_bytes_estimate == 0


def test_arena_of_a_reshape_is_its_operands(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("Reshape", ["a", "s"], ["b"], name="reshape"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="matmul"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [10, 20])},
        outputs={"y": ("float32", [20, 3])},
        constants={"s": np.asarray([20, 10]), "w": weights(10, 3)},
    )
    assert inventory(tmp_path, model).arena_bytes_estimate == 200 * 4


def test_quantized_weights_count_as_stored(tmp_path: Path) -> None:
    counts = inventory(tmp_path, qdq_model())
    # 4 x 27 weights, 4 biases, their scales and zero points; two scales and zero points of 1
    assert counts.parameter_count == 108 + 4 + 2 * (4 + 4) + 2 * (1 + 1)
    assert counts.weight_bytes == 108 + 16 + (16 + 4) + (16 + 16) + 2 * (4 + 1)
    # x_q int8 192 + x_dq float 768 is less than c + r, two float [1, 4, 8, 8]
    assert counts.arena_bytes_estimate == 2 * 4 * 64 * 4


def test_attention(tmp_path: Path) -> None:
    counts = inventory(tmp_path, attention_model(tokens=8, width=16, heads=2))
    assert counts.mac_count == 3 * 8 * 16 * 16 + 2 * (2 * 8 * 8 * 8)
