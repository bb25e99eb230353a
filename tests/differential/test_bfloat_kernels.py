"""Products in bfloat16, their instructions emulated, against onnxruntime on rounded factors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.library import load
from compiler.pipeline import compile as compile_model
from compiler.target_spec import TargetSpec
from tests.bfloat_models import SUMS_LIMIT, convolution, of_rounded_factors, product
from tests.emulated_bfloats import emulate_bfloats
from tests.onnx_models import conv_net_model, save

CASES = {
    "padded": convolution((1, 9, 11, 32), (48, 32, 3, 3), pads=[1, 1, 1, 1]),
    "strided": convolution((2, 9, 10, 16), (32, 16, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0]),
    "dilated": convolution((1, 9, 9, 8), (16, 8, 3, 2), dilations=[2, 3]),
    "pointwise": convolution((2, 7, 7, 48), (64, 48, 1, 1)),
    "sampled": convolution((1, 9, 8, 32), (32, 32, 1, 1), strides=[2, 3]),
    "one-row": convolution((1, 1, 40, 16), (16, 16, 1, 5), pads=[0, 2, 0, 2]),
    "ragged-channels": convolution((1, 6, 6, 16), (11, 16, 3, 3)),
    "half-blocks": convolution((1, 6, 6, 24), (24, 24, 1, 1)),
    "four-lanes": convolution((1, 3, 3, 4), (4, 4, 1, 1)),
    "matrix": product((5,), 200, 40),
    "one-row-matrix": product((1,), 64, 10),
    "odd-depth": product((6,), 37, 70),
    "matrices": product((2, 3), 36, 64),
    "many-rows": product((90,), 24, 16),
}


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> TargetSpec:
    return emulate_bfloats(monkeypatch)


@pytest.mark.parametrize("name", CASES)
def test_same_numbers_as_of_rounded_factors(name: str, spec: TargetSpec, tmp_path: Path) -> None:
    model = CASES[name]
    got, rules = _run(model, spec, tmp_path)
    want = of_rounded_factors(model, _feed(model))
    assert any(rule.startswith("bfloat-") for rule in rules)
    assert np.abs(got - want).max() <= SUMS_LIMIT * np.abs(want).max()


def test_fallback_multiplies_rounded_weights(spec: TargetSpec, tmp_path: Path) -> None:
    """Rows of this are no tiles. The loop nest has no copy, so the data is not rounded."""
    model = product((2, 3), 37, 70)
    got, rules = _run(model, spec, tmp_path)
    assert not any(rule.startswith("bfloat-") for rule in rules)
    want = of_rounded_factors(model, _feed(model), rounds_data=False)
    assert np.abs(got - want).max() <= SUMS_LIMIT * np.abs(want).max()


def test_number_of_threads_changes_no_bit(spec: TargetSpec, tmp_path: Path) -> None:
    model = CASES["padded"]
    one, _ = _run(model, spec, tmp_path / "one")
    three, _ = _run(model, spec, tmp_path / "three", threads=3)
    assert one.tobytes() == three.tobytes()


def test_model_is_within_the_stated_limit(spec: TargetSpec, tmp_path: Path) -> None:
    path = save(conv_net_model(size=32), tmp_path / "net.onnx")
    made = compile_model(path, target=spec, output=tmp_path / "out", precision="bf16", threads=1)
    said = json.loads(made.verification_path.read_text())
    assert (said["status"], said["precision"], said["float32_limit"]) == ("passed", "bf16", 4e-2)
    assert max(output["max_relative"] for output in said["outputs"]) > 1e-4  # it did round


def _feed(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(5).standard_normal(shape).astype(np.float32)}


def _run(
    model: onnx.ModelProto, spec: TargetSpec, folder: Path, threads: int = 1
) -> tuple[np.ndarray, set[str]]:
    """The output, and the rules of its kernels."""
    folder.mkdir(exist_ok=True)
    path = save(model, folder / "case.onnx")
    made = compile_model(
        path,
        target=spec,
        output=folder / "out",
        precision="bf16",
        threads=threads,
        verify="skip",
    )
    with load(made.path, threads=threads) as library:
        output = library.run(_feed(model))["y"]
    return output, {kernel["schedule"]["name"] for kernel in made.report()["kernels"]}
