"""Sums of small integers by the runtime, of drawn shapes: the bytes of the contract's reference."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import target_specs
from compiler.pipeline import compile as compile_model
from compiler.runners.open_runner import open_runner
from compiler.runners.vector_length import with_vector_bits
from compiler.target_spec import load_target
from tests.differential.test_integer_kernels import same_bytes
from tests.integer_reference import IntegerReference
from tests.onnx_models import save
from tests.quantized_models import QdqBuilder, every_integer

TARGETS = ("neoverse-n1", "neoverse-n2", "neoverse-v1", "cortex-a72", "rv64gc", "rv64gcv")
SPECS = Path(target_specs.__path__[0])
SHAPES = 12  # of each operator, side by side in one model


def _draw(generator: np.random.Generator, *choices: int) -> int:
    return int(generator.choice(choices))


def _convolution(b: QdqBuilder, draw: np.random.Generator, *, depthwise: bool) -> None:
    taps_y, taps_x = _draw(draw, 1, 2, 3, 3, 5), _draw(draw, 1, 2, 3, 3, 5)
    channels = _draw(draw, 1, 3, 4, 7, 8, 9, 16, 20, 24, 40, 48)
    groups = channels if depthwise else 1
    outputs = channels if depthwise else _draw(draw, 1, 3, 4, 8, 10, 12, 16, 24, 40)
    height, width = (int(draw.integers(5, 20)) for _ in range(2))
    dtype, zero = ("int8", -3) if draw.integers(2) else ("uint8", 117)
    made = b.node(
        "Conv",
        b.data(_draw(draw, 1, 1, 2), channels, height, width, zero=zero, dtype=dtype),
        b.weight(outputs, channels // groups, taps_y, taps_x),
        b.bias(outputs),
        group=groups,
        pads=[int(draw.integers(taps)) for taps in (taps_y, taps_x) * 2],
        strides=[_draw(draw, 1, 1, 2, 3), _draw(draw, 1, 1, 2, 3)],
        dilations=[_draw(draw, 1, 1, 2) if max(taps_y, taps_x) < 3 else 1] * 2,
    )
    b.output(made, 0.11)


def _product(b: QdqBuilder, draw: np.random.Generator) -> None:
    rows, depth, columns = (int(draw.integers(1, 50)) for _ in range(3))
    made = b.node("MatMul", b.data(rows, depth), b.weight(depth, columns, axis=1))
    b.output(made, 0.11)


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_drawn_shapes_give_the_same_bytes(target: str, tmp_path: Path) -> None:
    spec = load_target(target)
    if shutil.which(spec.runner.command[0]) is None:
        pytest.skip(f"needs {spec.runner.command[0]}")
    builder, draw = QdqBuilder(), np.random.default_rng(11)
    for _ in range(SHAPES):
        _convolution(builder, draw, depthwise=False)
        _convolution(builder, draw, depthwise=True)
        _product(builder, draw)
    model = builder.model()
    path = save(model, tmp_path / "drawn.onnx")
    assert same_bytes(path, target, tmp_path / "out", [every_integer(model, 0)]) == []


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("bits", [256, 512, 2048])
def test_scalable_vectors_without_products_of_matrices(bits: int, tmp_path: Path) -> None:
    """SVE without i8mm, at other lengths too: its own `sdot`."""
    known = SPECS / "neoverse-v1.toml"
    text = known.read_text(encoding="utf-8").replace('name = "neoverse-v1"', 'name = "plain-sve"')
    text = text.replace('cpu = "neoverse-v1"', 'cpu = "neoverse-v1"\nfeatures = ["-i8mm"]')
    spec = tmp_path / "plain-sve.toml"
    spec.write_text(text, encoding="utf-8")
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("needs qemu-aarch64")
    builder, draw = QdqBuilder(), np.random.default_rng(7)
    for _ in range(4):
        _convolution(builder, draw, depthwise=False)
        _convolution(builder, draw, depthwise=True)
        _product(builder, draw)
    model = builder.model()
    path = save(model, tmp_path / "drawn.onnx")
    artifact = compile_model(path, target=str(spec), output=tmp_path / "out", verify="skip")
    assert (artifact.path / "src" / "runtime" / "sve_dot_sums.c").exists()
    assert not (artifact.path / "src" / "runtime" / "sve_mm_sums.c").exists()
    given = every_integer(model, 0)
    with open_runner(with_vector_bits(artifact, bits)) as runner:
        (made,) = runner.run([given]).outputs
    for name, wanted in IntegerReference(model).run(given).items():
        np.testing.assert_array_equal(made[name], wanted)
