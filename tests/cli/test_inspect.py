"""``tunesmith inspect`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from tests.onnx_models import conv_model, conv_net_model, make_model, qdq_model, save

Tunesmith = Callable[..., Any]


def test_table(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_net_model(), tmp_path / "net.onnx")
    outcome = tunesmith("inspect", "net.onnx")
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["model", "net"]
    assert ["opset", "18"] in [line.split() for line in lines]
    assert "input   x     float32  1 x 3 x 16 x 16" in lines
    assert "output  y     float32  1 x 10" in lines
    conv = next(line.split() for line in lines if line.startswith("Conv "))
    assert conv == ["Conv", "3", "22,528", "99.6", "%"]
    assert "every operator can be compiled" in lines
    assert outcome.stderr == ""


def test_json(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(qdq_model(integer_ports=True), tmp_path / "q.onnx")
    outcome = tunesmith("inspect", "q.onnx", "--json", "--target", "znver4")
    document = json.loads(outcome.stdout)
    assert document["inputs"] == [
        {
            "name": "x",
            "dtype": "int8",
            "shape": [1, 3, 8, 8],
            "quantization": {"scale": pytest.approx(0.05), "zero_point": -3},
        }
    ]
    assert document["can_be_compiled"] is True
    assert document["mac_count"] == 4 * 64 * 27
    assert document["operators"][0] == {"domain": "", "op_type": "DequantizeLinear", "count": 3}
    assert document["target"]["name"] == "znver4"


def test_unsupported_nodes_are_listed(tunesmith: Tunesmith, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"], name="find"),
        helper.make_node("Mystery", ["i"], ["y"], name="guess"),
    ]
    model = make_model(nodes, inputs={"x": ("float32", [4])}, outputs={"y": ("float32", [None])})
    save(model, tmp_path / "m.onnx")
    outcome = tunesmith("inspect", "m.onnx")
    assert outcome.code == 0, outcome.stderr
    assert "cannot be compiled: 2 of the nodes" in outcome.stdout
    rows = [line.split(maxsplit=2) for line in outcome.stdout.splitlines()]
    assert ["NonZero", "find", "the shape of its result depends on the data"] in rows
    assert ["Mystery", "guess", "unknown operator: not in ONNX"] in rows


def test_limits_of_a_target(tunesmith: Tunesmith, tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent.parent / "target_specs" / "x86-64-v3.toml").read_text()
    limits = "\n[limits]\nflash_bytes = 300\nram_bytes = 1_000_000\n"
    (tmp_path / "board.toml").write_text(
        text.replace('name = "x86-64-v3"', 'name = "board"') + limits
    )
    save(conv_model(), tmp_path / "m.onnx")
    outcome = tunesmith("inspect", "m.onnx", "--target", "board.toml")
    assert outcome.code == 0, outcome.stderr
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert ["flash_bytes", "weights", "448", "300", "no"] in rows
    assert ["ram_bytes", "arena", "1,024", "1,000,000", "yes"] in rows


def test_a_target_without_limits(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_model(), tmp_path / "m.onnx")
    outcome = tunesmith("inspect", "m.onnx", "--target", "x86-64-v4")
    assert "target x86-64-v4 sets no memory limits" in outcome.stdout


def test_shape_and_value(tunesmith: Tunesmith, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["factor"], ["f"], name="cast", to=1),
        helper.make_node("Mul", ["x", "f"], ["y"], name="scale"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", ["N", "length"]), "factor": ("int64", [])},
        outputs={"y": ("float32", ["N", "length"])},
    )
    save(model, tmp_path / "m.onnx")
    words = ("inspect", "m.onnx", "--json")
    refused = tunesmith(*words[:2])
    assert refused.code == 1
    assert refused.stderr.splitlines() == [
        "error: axis 1 (`length`) of input `x` is unknown",
        "  why: the compiler needs every size; only a first dimension (the batch) is 1 by default",
        "  fix: give the size you will run with, for example --shape x=1x128",
    ]
    outcome = tunesmith(*words, "--shape", "x=1x128", "--value", "factor=3")
    document = json.loads(outcome.stdout)
    assert [port["name"] for port in document["inputs"]] == ["x"]
    assert document["outputs"][0]["shape"] == [1, 128]
    assert [op["op_type"] for op in document["operators"]] == ["Mul"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["no.onnx"], 1, "error: no.onnx: cannot be read"),
        (["m.onnx", "--target", "znver5"], 1, "znver4"),
        (["m.onnx", "--shape", "x=3x8x8"], 1, "rank 3 given, the input has rank 4"),
        (["m.onnx", "--shape", "y=1"], 1, "the model has no input `y`"),
        (["m.onnx", "--shape", "x=1by3"], 2, "write NAME=1x3x224x224"),
        (["m.onnx", "--shape", "x=1", "--shape", "x=2"], 2, "input 'x' is given twice"),
        (["m.onnx", "--value", "x=abc"], 2, "write NAME=16000"),
        ([], 2, "Missing argument 'MODEL'"),
    ],
)
def test_refusals(
    tunesmith: Tunesmith, tmp_path: Path, words: list[str], code: int, text: str
) -> None:
    save(conv_model(), tmp_path / "m.onnx")
    outcome = tunesmith("inspect", *words)
    assert outcome.code == code
    assert text in outcome.stderr
    assert outcome.stdout == ""
