"""Every shipped target spec: loaded, checked, and a small network compiled for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compiler.pipeline import compile as compile_model
from compiler.target_spec import TargetSpec, available_targets, load_target, runs_here
from tests.onnx_models import conv_net_model, save


def _can_be_run(spec: TargetSpec) -> bool:
    emulator = spec.runner.command[0] if spec.runner.kind == "emulator" else None
    return runs_here(spec) or (emulator is not None and shutil.which(emulator) is not None)


@pytest.mark.parametrize("name", available_targets())
def test_target_compiles_a_network(name: str, tmp_path: Path) -> None:
    spec = load_target(name)
    if spec.family == "mcu" and shutil.which(spec.toolchain.cc[0]) is None:
        pytest.skip(f"needs {spec.toolchain.cc[0]}")
    if spec.gpu is not None and shutil.which("nvcc") is None:
        pytest.skip("needs nvcc")
    path = save(conv_net_model(), tmp_path / "net.onnx")
    artifact = compile_model(path, target=spec, output=tmp_path / "out")
    verification = json.loads(artifact.verification_path.read_text())
    assert verification["status"] == ("passed" if _can_be_run(spec) else "not run")
    report = json.loads((artifact.path / "report.json").read_text())
    names = {kernel["schedule"]["name"] for kernel in report["kernels"]}
    rules = {name.removeprefix("scalable-") for name in names}
    by_family = {"mcu": {"scalar-conv2d", "scalar-matmul"}, "gpu": {"gpu-product", "gpu-reduction"}}
    wanted = by_family.get(spec.family, {"conv2d", "matmul"})
    if spec.family == "mcu" and spec.lanes(dtype_bits=32) > 1:
        wanted = {"conv2d", "matmul"}
    assert wanted <= rules
