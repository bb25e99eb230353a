"""Convolutions and products by tiles of AMX, its instructions emulated: the reference's bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.library import load
from compiler.pipeline import compile as compile_model
from compiler.target_spec import TargetSpec
from tests.differential.test_integer_kernels import QUANTIZED, drawn
from tests.emulated_amx import emulate_amx
from tests.integer_reference import IntegerReference
from tests.onnx_models import make_model, save
from tests.quantized_models import QdqBuilder, every_integer

MODELS = Path(__file__).parents[1] / "models"


def _convolution(
    data: tuple[int, ...], weight: tuple[int, ...], dtype: str = "int8", **attributes: Any
) -> QdqBuilder:
    b = QdqBuilder()
    values = b.data(*data, zero=3, dtype=dtype)
    made = b.node("Conv", values, b.weight(*weight), b.bias(weight[0]), **attributes)
    b.output(made, 0.2 * float(np.prod(weight[1:])) ** 0.5)
    return b


def _product(rows: int, depth: int, columns: int, dtype: str = "int8") -> QdqBuilder:
    b = QdqBuilder()
    data = b.data(rows, depth, zero=3, dtype=dtype)
    b.output(b.node("MatMul", data, b.weight(depth, columns, axis=1)), 0.2 * depth**0.5)
    return b


def _transposed() -> QdqBuilder:
    b = QdqBuilder()
    weight = b.weight(32, 24, 3, 3, axis=1)
    made = b.node("ConvTranspose", b.data(1, 32, 9, 9), weight, strides=[2, 2], pads=[1] * 4)
    b.output(made, 2.0)
    return b


CASES: dict[str, Callable[[], QdqBuilder]] = {
    "padded": lambda: _convolution((1, 16, 20, 20), (40, 16, 3, 3), pads=[1] * 4),
    "strided": lambda: _convolution(
        (2, 32, 17, 21), (16, 32, 3, 3), "uint8", strides=[2, 1], pads=[0, 1, 1, 0]
    ),
    "dilated": lambda: _convolution((1, 32, 14, 20), (48, 32, 3, 2), dilations=[2, 3]),
    "few-channels": lambda: _convolution(
        (1, 3, 32, 64), (24, 3, 7, 7), "uint8", strides=[2, 2], pads=[3] * 4
    ),
    "pointwise": lambda: _convolution((2, 64, 14, 14), (96, 64, 1, 1)),
    "pointwise-copied": lambda: _convolution((1, 70, 9, 9), (40, 70, 1, 1), "uint8"),
    "pointwise-strided": lambda: _convolution((1, 64, 32, 32), (16, 64, 1, 1), strides=[2, 2]),
    "uneven-run": lambda: _convolution((1, 16, 1, 211), (32, 16, 1, 1)),
    "filled-up": lambda: _convolution((1, 68, 6, 34), (16, 68, 1, 3), pads=[0, 1, 0, 1]),
    "transposed": _transposed,
    "product": lambda: _product(40, 64, 33),
    "product-copied": lambda: _product(37, 203, 70, "uint8"),
    "product-of-uneven-runs": lambda: _product(211, 32, 400),
}
FEW = ("padded", "few-channels", "pointwise-copied", "uneven-run", "product-copied")
THREADS = 3
IMAGE, MATRIX = (1, 32, 9, 9), (20, 64)


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> TargetSpec:
    return emulate_amx(monkeypatch)


@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_same_bytes_as_the_contract(name: str, spec: TargetSpec, tmp_path: Path) -> None:
    model = CASES[name]().model()
    rules = _run(save(model, tmp_path / "case.onnx"), spec, tmp_path, [every_integer(model, 0)])
    assert any(rule.startswith("amx-") for rule in rules)


@pytest.mark.parametrize("name", ["padded", "pointwise-copied"])
def test_threads_have_tiles_of_their_own(name: str, spec: TargetSpec, tmp_path: Path) -> None:
    model = CASES[name]().model()
    path = save(model, tmp_path / "case.onnx")
    _run(path, spec, tmp_path, [every_integer(model, seed) for seed in range(5)], THREADS)


def test_zero_points_known_at_run_time(spec: TargetSpec, tmp_path: Path) -> None:
    path = save(_dynamic(), tmp_path / "case.onnx")
    random = np.random.default_rng(3)
    drawn = [random.standard_normal(shape).astype(np.float32) for shape in (IMAGE, MATRIX)]
    sets = [
        dict(zip(("x", "m"), (a + 1 for a in drawn), strict=True)),
        {"x": drawn[0], "m": -drawn[1]},
    ]
    assert {"amx-conv2d", "amx-matmul"} <= _run(path, spec, tmp_path, sets)


def _dynamic() -> onnx.ModelProto:
    """Sums of a padded convolution and of a product, of data that is quantized first."""
    random = np.random.default_rng(2)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["qx", "sx", "zx"]),
        helper.make_node("DynamicQuantizeLinear", ["m"], ["qm", "sm", "zm"]),
        helper.make_node("ConvInteger", ["qx", "wx", "zx"], ["convolved"], pads=[1, 0, 1, 2]),
        helper.make_node("MatMulInteger", ["qm", "wm", "zm"], ["product"]),
    ]
    constants = {
        "wx": random.integers(-128, 128, (24, IMAGE[1], 3, 3)).astype(np.int8),
        "wm": random.integers(-128, 128, (MATRIX[1], 20)).astype(np.int8),
    }
    return make_model(
        nodes,
        inputs={"x": ("float32", IMAGE), "m": ("float32", MATRIX)},
        outputs={"convolved": ("int32", (1, 24, 9, 9)), "product": ("int32", (MATRIX[0], 20))},
        constants=constants,
    )


def test_few_rows_are_left(spec: TargetSpec, tmp_path: Path) -> None:
    model = _product(3, 64, 64).model()
    rules = _run(save(model, tmp_path / "case.onnx"), spec, tmp_path, [every_integer(model, 0)])
    assert rules == {"integer-matmul"}


def test_model(spec: TargetSpec, tmp_path: Path) -> None:
    path = MODELS / "mnist_dscnn_qdq8.onnx"
    assert "amx-conv2d" in _run(path, spec, tmp_path, drawn(path, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZED)
def test_model_with_many_inputs(name: str, spec: TargetSpec, tmp_path: Path) -> None:
    path = MODELS / name
    _run(path, spec, tmp_path, drawn(path, 20))


def _run(
    path: Path,
    spec: TargetSpec,
    folder: Path,
    sets: list[dict[str, np.ndarray]],
    threads: int = 1,
) -> set[str]:
    """Compare each output with the reference's; return the rules of the kernels."""
    made = compile_model(path, target=spec, output=folder / "out", threads=threads, verify="skip")
    reference = IntegerReference(onnx.load(path))
    with load(made.path, threads=threads) as library:
        for given in sets:
            got = library.run(given)
            for name, expected in reference.run(given).items():
                assert got[name].dtype == expected.dtype
                assert got[name].tobytes() == np.ascontiguousarray(expected).tobytes(), name
    return {kernel["schedule"]["name"] for kernel in made.report()["kernels"]}
