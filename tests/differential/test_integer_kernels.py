"""Quantized operators and models: the same bytes as the contract's NumPy reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.runners.open_runner import open_runner
from tests.exercised_inputs import exercised_sets
from tests.integer_reference import IntegerReference
from tests.onnx_models import save
from tests.quantized_models import CASES, all_cases, every_integer

MODELS = Path(__file__).parents[1] / "models"
QUANTIZED = tuple(sorted(path.name for path in MODELS.glob("*_qdq8.onnx")))
FEW = ("conv-unsigned", "depthwise", "residual", "dense", "softmax", "halves")


def same_bytes(
    path: Path, target: str, output: Path, sets: list[dict[str, np.ndarray]]
) -> list[str]:
    """Names of outputs that differ from the reference in any byte for any of the inputs."""
    artifact = compile_model(path, target=target, output=output, verify="skip")
    reference = IntegerReference(onnx.load(path))
    with open_runner(artifact) as runner:
        results = runner.run(sets).outputs
    wrong = []
    for given, outputs in zip(sets, results, strict=True):
        for name, expected in reference.run(given).items():
            assert outputs[name].dtype == expected.dtype
            if outputs[name].tobytes() != np.ascontiguousarray(expected).tobytes():
                wrong.append(name)
    return wrong


def drawn(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    """Sets of inputs, the third of which saturates."""
    return exercised_sets(load_model(path), count)


@pytest.mark.parametrize(
    "names", [FEW, pytest.param(tuple(CASES), marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_operators(names: tuple[str, ...], tmp_path: Path) -> None:
    model = all_cases(names)
    path = save(model, tmp_path / "operators.onnx")
    assert same_bytes(path, "host", tmp_path / "out", [every_integer(model, 0)]) == []


def test_reference_is_near_onnxruntime() -> None:
    """Two readings of ONNX: half a quantum apart at most where neither is exact."""
    model = all_cases()
    given = every_integer(model, 1)
    session = onnxruntime_without_optimisations(model)
    for name, array in zip(
        (output.name for output in model.graph.output), session.run(None, given), strict=True
    ):
        expected = IntegerReference(model).run(given)[name]
        assert np.abs(array.astype(np.int64) - expected).max() <= 1, name


def onnxruntime_without_optimisations(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def test_model(tmp_path: Path) -> None:
    path = MODELS / "mnist_dscnn_qdq8.onnx"
    assert same_bytes(path, "host", tmp_path / "out", drawn(path, 3)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZED)
def test_model_with_many_inputs(name: str, tmp_path: Path) -> None:
    path = MODELS / name
    assert same_bytes(path, "host", tmp_path / "out", drawn(path, 20)) == []


def test_cases_are_worth_their_name() -> None:
    """Results are neither constant nor all saturated, else equal bytes would show nothing."""
    for case in CASES:
        model = all_cases((case,))
        for name, array in IntegerReference(model).run(every_integer(model, 0)).items():
            assert len(np.unique(array)) >= 4, (case, name)
