"""Quantized operators and models on other machines: the bytes of the contract's reference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compiler.target_spec import load_target
from tests.differential.test_integer_kernels import MODELS, QUANTIZED, drawn, same_bytes
from tests.onnx_models import save
from tests.quantized_models import all_cases, every_integer

TARGETS = (
    *("cortex-a72", "neoverse-n1", "neoverse-v1", "rv64gc"),
    *("cortex-m4f", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imac"),
)
INPUTS = 3  # each starts an emulator


def _needs_tools(target: str) -> None:
    spec = load_target(target)
    for tool in (spec.toolchain.cc[0], spec.runner.command[0]):
        if shutil.which(tool) is None and not tool.startswith("zig"):
            pytest.skip(f"needs {tool}")


@pytest.mark.emulator
@pytest.mark.parametrize("target", TARGETS)
def test_every_operator_gives_the_same_bytes(target: str, tmp_path: Path) -> None:
    _needs_tools(target)
    model = all_cases()
    path = save(model, tmp_path / "operators.onnx")
    assert same_bytes(path, target, tmp_path / "out", [every_integer(model, 0)]) == []


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("target", TARGETS)
def test_model_gives_the_same_bytes(target: str, name: str, tmp_path: Path) -> None:
    _needs_tools(target)
    path = MODELS / name
    assert same_bytes(path, target, tmp_path / "out", drawn(path, INPUTS)) == []
