"""Every shipped target spec: loaded, checked, and a small network compiled for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.pipeline import compile as compile_model
from compiler.target_spec import available_targets, load_target, runs_here
from tests.onnx_models import conv_net_model, save


@pytest.mark.parametrize("name", available_targets())
def test_target_compiles_a_network(name: str, tmp_path: Path) -> None:
    spec = load_target(name)
    path = save(conv_net_model(), tmp_path / "net.onnx")
    artifact = compile_model(path, target=spec, output=tmp_path / "out")
    verification = json.loads(artifact.verification_path.read_text())
    assert verification["status"] == ("passed" if runs_here(spec) else "not run")
    report = json.loads((artifact.path / "report.json").read_text())
    rules = {kernel["schedule"]["name"] for kernel in report["kernels"]}
    assert {"conv2d", "matmul"} <= rules
