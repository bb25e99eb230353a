"""Convolutions and products of drawn shapes by the host's dot instructions: equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.kernels import dot_steps
from compiler.stages.operators import integer_dot
from schedules.cpu import dot_step
from tests.differential.test_integer_kernels import same_bytes
from tests.onnx_models import save
from tests.quantized_models import QdqBuilder, every_integer

CONVOLUTIONS = 3


def _convolution(b: QdqBuilder, random: np.random.Generator) -> None:
    """Any channels, groups, taps, strides, paddings, dilations; both kinds of bytes."""
    groups = int(random.choice([1, 1, 2, 3]))
    group_in, group_out = (int(n) for n in random.integers(1, 21, 2))
    channels, out = groups * group_in, groups * group_out
    kernel = [int(n) for n in random.integers(1, 4, 2)]
    size = [int(n) for n in random.integers(6, 13, 2)]
    attributes: dict[str, Any] = {
        "group": groups,
        "strides": [int(n) for n in random.integers(1, 3, 2)],
        "dilations": [int(n) for n in random.integers(1, 3, 2)],
        "pads": [int(n) for n in random.integers(0, 2, 4)],
    }
    dtype = str(random.choice(["int8", "uint8"]))
    zero = int(random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
    data = b.data(1, channels, *size, zero=zero, dtype=dtype)
    made = b.node("Conv", data, b.weight(out, group_in, *kernel), b.bias(out), **attributes)
    b.output(made, 0.2 * (group_in * kernel[0] * kernel[1]) ** 0.5)


def _depthwise(b: QdqBuilder, random: np.random.Generator) -> None:
    """Channels of whole vectors or not; taps that are an odd or even number of rows, or one."""
    channels = int(random.choice([4, 8, 16, 24, 48, 80, 13]))
    kernel = [int(n) for n in random.integers(1, 6, 2)]
    size = [int(n) for n in random.integers(7, 16, 2)]
    attributes: dict[str, Any] = {
        "group": channels,
        "strides": [int(n) for n in random.integers(1, 4, 2)],
        "dilations": [int(random.choice([1, 1, 1, 2])), int(random.integers(1, 3))],
        "pads": [int(n) for n in random.integers(0, 3, 4)],
    }
    if any(d * (k - 1) >= s for d, k, s in zip(attributes["dilations"], kernel, size, strict=True)):
        attributes["dilations"] = [1, 1]
    dtype = str(random.choice(["int8", "uint8"]))
    zero = int(random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
    data = b.data(1, channels, *size, zero=zero, dtype=dtype)
    weight = b.weight(channels, 1, *kernel, dtype=dtype, zero=0 if dtype == "int8" else 120)
    made = b.node("Conv", data, weight, b.bias(channels), **attributes)
    b.output(made, 0.2 * (kernel[0] * kernel[1]) ** 0.5)


def _product(b: QdqBuilder, random: np.random.Generator) -> None:
    rows, depth, columns = (int(n) for n in random.integers(1, 40, 3))
    zero = int(random.integers(-128, 127))
    made = b.node("MatMul", b.data(rows, depth, zero=zero), b.weight(depth, columns, axis=1))
    b.output(made, 0.2 * depth**0.5)


def _drawn_model_agrees(seed: int, folder: Path) -> None:
    random = np.random.default_rng(seed)
    b = QdqBuilder()
    for _ in range(CONVOLUTIONS):
        _convolution(b, random)
        _depthwise(b, random)
    _product(b, random)
    path = save(b.model(), folder / "drawn.onnx")
    assert same_bytes(path, "host", folder / "out", [every_integer(b.model(), seed)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(9))
def test_drawn_shapes(seed: int, tmp_path: Path) -> None:
    _drawn_model_agrees(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 16))
def test_fours_as_loops(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing, shifted rows and schedule of VNNI's steps, with loops in place of the instruction.

    No machine of the tests has to have it; `test_dot_steps` shows that the two compute the same.
    """
    for module in (integer_dot, dot_step):
        monkeypatch.setattr(module, "sums_fours", lambda _: True)
    replaced = []

    def no_step(loop: Any, instruction: str) -> None:
        replaced.append((loop, instruction))

    monkeypatch.setattr(dot_steps, "_step", no_step)
    _drawn_model_agrees(seed, tmp_path)
    assert any("vpdpbusd" in instruction for _, instruction in replaced)
