"""Libraries for other processors, run in QEMU, against onnxruntime on the same inputs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from compiler.artifact.manifest import Artifact
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile
from compiler.runners.open_runner import open_runner
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs
from tests.onnx_models import conv_net_model, save

needs_qemu_aarch64 = pytest.mark.skipif(
    shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64 (qemu-user)"
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("cortex-a72")
    path = save(conv_net_model(), folder / "net.onnx")
    return compile(path, target="cortex-a72", output=folder / "out", verify="require")


@needs_qemu_aarch64
def test_library_for_aarch64_agrees_with_onnxruntime(artifact: Artifact) -> None:
    model = load_model(artifact.path.parent / "net.onnx")
    sets = [draw_inputs(model, seed) for seed in (3, 4)]
    with open_runner(artifact.path) as runner:
        result = runner.run(sets, count=True)
        again = runner.run(sets[:1], count=True)
    for given, outputs in zip(sets, result.outputs, strict=True):
        for name, expected in Reference(model.source).run(given).items():
            largest = float(np.abs(expected).max())
            np.testing.assert_allclose(outputs[name], expected, atol=1e-4 * largest, rtol=0)
    verification = json.loads(artifact.verification_path.read_text())
    assert verification["machine"]["architecture"] == "aarch64"
    assert "emulated by qemu-aarch64" in verification["machine"]["cpu"]
    # Exact: the same library on the same inputs takes the same instructions.
    assert result.instruction_count == again.instruction_count
    assert result.instruction_count is not None
    assert result.instruction_count > 1_000
