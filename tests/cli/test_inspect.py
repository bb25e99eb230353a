"""``tunesmith inspect`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from tests.onnx_models import conv_model, conv_net_model, make_model, qdq_model, save
from tests.quantized_models import QdqBuilder

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


def quantized_log_softmax() -> onnx.ModelProto:
    """One quantizer of 16 bits, and one that follows what has no integer form."""
    builder = QdqBuilder()
    builder.output(builder.node("LogSoftmax", builder.data(2, 9)), 0.1)
    builder.output(builder.node("Relu", builder.data(2, 9)), 0.1, 0, "int16")
    return builder.model()


def test_quantizers_that_stay_float(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(quantized_log_softmax(), tmp_path / "q.onnx")
    outcome = tunesmith("inspect", "q.onnx")
    _, _, rows = outcome.stdout.partition("computed in float on every target: 1\n")
    assert rows.splitlines()[-1].split("  ")[-1] == "it quantizes not to 8 bits", outcome.stderr
    outcome = tunesmith("inspect", "q.onnx", "--target", "cortex-m4f")
    _, _, rows = outcome.stdout.partition("computed in float on cortex-m4f: 2\n")
    assert "has no integer form" in rows
    outcome = tunesmith("inspect", "q.onnx", "--json", "--target", "cortex-m4f")
    document = json.loads(outcome.stdout)
    assert len(document["quantized_in_float"]) == 1
    assert len(document["target"]["float_quantizers"]) == 2


def test_json(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(qdq_model(integer_ports=True), tmp_path / "q.onnx")
    outcome = tunesmith(
        *("inspect", "q.onnx", "--json", "--target", "znver4", "--limit", "ram_bytes=1000000")
    )
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
    target = document["target"]
    assert target["name"] == "znver4"
    assert target["kernel_calls"] >= 1
    assert target["peak"] is None or set(target["peak"]) == {"name", "size_bytes"}
    ram = target["amounts"][0]
    assert {key: ram[key] for key in ("limit", "error", "most", "verdict")} == {
        "limit": "ram_bytes",
        "error": 0,
        "most": 1_000_000,
        "verdict": "fits",
    }
    assert isinstance(ram["need"], int)


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
    (flash,) = (row for row in rows if row[:1] == ["flash_bytes"])
    assert flash[1:4] == ["weights", "and", "code"]
    assert flash[5:] == ["300", "does", "not", "fit"]
    (ram,) = (row for row in rows if row[:1] == ["ram_bytes"])
    assert (ram[1], *ram[3:]) == ("arena", "1,000,000", "fits")
    assert any(row[:3] == ["most", "memory", "in"] for row in rows)


def test_limits_given_by_the_user(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_model(), tmp_path / "m.onnx")
    words = ("inspect", "m.onnx", "--target", "cortex-m4f", "--limit", "flash_bytes=1")
    outcome = tunesmith(*words)
    assert outcome.code == 0, outcome.stderr  # inspect informs
    rows = [line.split() for line in outcome.stdout.splitlines()]
    (stack,) = (row for row in rows if row[:1] == ["stack_bytes"])
    assert stack[1:] == ["measured", "by", "compile", "65,536", "not", "estimated"]
    assert ["schedules", "smaller,", "slower", "code:"] in [row[:4] for row in rows]


def test_inputs_and_outputs_in_the_arena(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_model(), tmp_path / "m.onnx")
    outcome = tunesmith("inspect", "m.onnx", "--target", "cortex-m4f", "--io-memory", "arena")
    assert outcome.code == 0, outcome.stderr
    rows = [line.split() for line in outcome.stdout.splitlines()]
    (ram,) = (row for row in rows if row[:1] == ["ram_bytes"])
    assert ram[1:5] == ["arena", "with", "inputs", "and"]
    assert ["largest", "tensors", "y", "(1,024", "bytes),", "x", "(768", "bytes)"] in rows


def test_a_model_that_cannot_be_compiled(tunesmith: Tunesmith, tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"], name="find")]
    model = make_model(
        nodes, inputs={"x": ("float32", [4])}, outputs={"y": ("int64", [None, None])}
    )
    save(model, tmp_path / "m.onnx")
    outcome = tunesmith("inspect", "m.onnx", "--target", "x86-64-v3")
    assert outcome.code == 0, outcome.stderr
    assert "nothing can be estimated for x86-64-v3: " in outcome.stdout
    document = json.loads(tunesmith("inspect", "m.onnx", "--target", "host", "--json").stdout)
    assert "cannot_be_compiled" in document["target"]


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
        (["m.onnx", "--limit", "ram_bytes=1"], 2, "--limit is one of a target"),
        (["m.onnx", "--io-memory", "arena"], 2, "--io-memory is one of a target"),
        (["m.onnx", "--io-memory", "heap", "--target", "host"], 2, "'heap' is not one of"),
        (
            ["m.onnx", "--io-memory", "arena", "--target", "x86-64-v3"],
            1,
            "target x86-64-v3 has no --io-memory arena",
        ),
        (["m.onnx", "--target", "host", "--limit", "ram=1"], 2, "'ram' is no limit"),
        (["m.onnx", "--target", "host", "--limit", "ram_bytes=1k"], 2, "a whole number"),
        (
            ["m.onnx", "--target", "host", "--limit", "stack_bytes=1"],
            1,
            "the limit stack_bytes cannot be held",
        ),
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
