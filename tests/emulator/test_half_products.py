"""Products in halves (``--precision fp16``) on 64-bit Arm, in QEMU, against onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from compiler.drawn_inputs import drawn_inputs
from compiler.pipeline import compile
from compiler.runners.open_runner import open_runner
from compiler.target_spec import Precision
from tests.onnx_models import conv_net_model, make_model, save, weights

pytestmark = pytest.mark.emulator

# Of float32, for ResNet-8: measured on neoverse-n1.
MOST_INSTRUCTIONS = 0.75


def two_products() -> onnx.ModelProto:
    """The second one reads what the first one stores; its 200 products are four sums of halves."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"], name="first_product"),
        helper.make_node("Relu", ["h"], ["t"], name="relu"),
        helper.make_node("MatMul", ["t", "second"], ["y"], name="second_product"),
    ]
    constants = {"first": weights(24, 200, seed=1), "second": weights(200, 40, seed=2)}
    kinds = {"x": ("float32", (5, 24))}, {"y": ("float32", (5, 40))}
    return make_model(nodes, inputs=kinds[0], outputs=kinds[1], constants=constants)


@pytest.mark.parametrize("target", ["neoverse-n1", "neoverse-v1"])
@pytest.mark.parametrize("form", ["convolutions", "products"])
def test_library_is_within_the_limit_of_halves(target: str, form: str, tmp_path: Path) -> None:
    model = conv_net_model(size=32) if form == "convolutions" else two_products()
    path = save(model, tmp_path / "net.onnx")
    made = compile(path, target=target, output=tmp_path / "out", precision="fp16", verify="require")
    said = json.loads(made.verification_path.read_text())
    assert (said["status"], said["precision"], said["float32_limit"]) == ("passed", "fp16", 1e-2)
    assert max(output["max_relative"] for output in said["outputs"]) > 1e-5  # it did round
    assert any(
        kernel["schedule"]["name"].startswith("half-") for kernel in made.report()["kernels"]
    )


def test_halves_take_fewer_instructions(models: Path, tmp_path: Path) -> None:
    counts = []
    precisions: tuple[Precision, ...] = ("float32", "fp16")
    for precision in precisions:
        made = compile(
            models / "mlperf_tiny_ic_resnet8_f32.onnx",
            target="neoverse-n1",
            output=tmp_path / precision,
            precision=precision,
            exact=True,
            verify="skip",
        )
        with open_runner(made) as runner:
            counted = runner.run([drawn_inputs(runner.inputs)], count=True).instruction_count
        assert counted is not None
        counts.append(counted)
    assert counts[1] <= MOST_INSTRUCTIONS * counts[0]
