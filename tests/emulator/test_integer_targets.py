"""Quantized operators and models on other machines: the bytes of the contract's reference."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler.target_spec import load_target
from tests.differential.test_integer_kernels import MODELS, QUANTIZED, drawn, same_bytes
from tests.onnx_models import save
from tests.quantized_models import QdqBuilder, all_cases, every_integer

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


def _drawn_products(seed: int, count: int) -> onnx.ModelProto:
    """Convolutions and products of drawn shapes, side by side."""
    b, random = QdqBuilder(), np.random.default_rng(seed)
    for channels, dtype in ((16, "uint8"), (9, "int8"), (8, "int8")):  # two copy rows, one does not
        data = b.data(1, channels, 5, 6, zero=20, dtype=dtype)
        b.output(b.node("Conv", data, b.weight(7 + seed, channels, 1, 1)), 0.1)
    for _ in range(count):
        dtype, zero = (("int8", -9), ("uint8", 130))[int(random.integers(2))]
        channels, out_channels = (int(random.choice([1, 3, 4, 7, 8, 16, 24, 33])) for _ in "io")
        height, width = (int(n) for n in random.integers(4, 8, 2))
        kernel = [int(n) for n in random.integers(1, 4, 2)]
        attributes: dict[str, Any] = {
            "strides": [int(n) for n in random.integers(1, 3, 2)],
            "pads": [int(n) for n in random.integers(0, 2, 4)],
        }
        data = b.data(1, channels, height, width, zero=zero, dtype=dtype)
        one = b.node("Conv", data, b.weight(out_channels, channels, *kernel), **attributes)
        b.output(one, 0.15)
        taps = b.weight(channels, 1, 3, 3)
        b.output(b.node("Conv", data, taps, group=channels, pads=[1, 1, 1, 1]), 0.1)
        depth = channels * int(random.integers(1, 6))
        left = b.data(int(random.integers(1, 4)), depth, zero=zero, dtype=dtype)
        b.output(b.node("MatMul", left, b.weight(depth, out_channels, axis=1)), 0.1)
    return b.model()


@pytest.mark.emulator
@pytest.mark.parametrize("seed", range(3))
def test_sums_of_products_give_the_same_bytes(seed: int, tmp_path: Path) -> None:
    """Groups of 16, 8 and 4 products, joined taps, copies of rows, on Helium."""
    _needs_tools("cortex-m55")
    model = _drawn_products(seed, 4)
    path = save(model, tmp_path / "drawn.onnx")
    given = [every_integer(model, seed)]
    assert same_bytes(path, "cortex-m55", tmp_path / "out", given) == []


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("target", TARGETS)
def test_model_gives_the_same_bytes(target: str, name: str, tmp_path: Path) -> None:
    _needs_tools(target)
    path = MODELS / name
    assert same_bytes(path, target, tmp_path / "out", drawn(path, INPUTS)) == []
