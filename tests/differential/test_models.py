"""The vendored models, compiled for this machine: right numbers, same accuracy, little memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from compiler.artifact.manifest import Artifact
from compiler.library import load
from compiler.program import is_winograd
from compiler.stages.conv2d_algorithm import WORKER_SCRATCH_SHARE

Compiled = Callable[[str], Artifact]

FLOAT_TOLERANCE = 1e-4  # of the reference's largest value
QUANTA = 2  # whole model: where a value lies between two quanta, rounding may go either way
ARENA_SHARE = 1.1  # of the lower bound
# Rows are widened to int16 on x86: the three of a 3 x 3 convolution of 16 x 16 x 32 are a tenth of
# three such tensors and a little more.
WIDENED_ARENA_SHARE = 1.11
# The chunks of a Winograd convolution lie in the arena too: what the budget for them allows, and
# the tenth above.
WINOGRAD_ARENA_SHARE = ARENA_SHARE + WORKER_SCRATCH_SHARE
ACCURACY_POINTS = 0.2
MODELS = tuple(
    f"{name}_{form}"
    for name in (
        "kws_espeak_dscnn",
        "mlperf_tiny_ad_autoencoder",
        "mlperf_tiny_ic_resnet8",
        "mlperf_tiny_kws_dscnn",
        "mlperf_tiny_vww_mobilenetv1",
        "mnist_dscnn",
    )
    for form in ("f32", "qdq8")
)


def test_every_vendored_model_is_here(models: Path) -> None:
    assert sorted(path.stem for path in models.glob("*.onnx")) == sorted(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_model_agrees_with_onnxruntime(compiled: Compiled, name: str) -> None:
    """`compile` has checked it; here its figures are held to what the project promises."""
    document = json.loads(compiled(name).verification_path.read_text(encoding="utf-8"))
    assert document["status"] == "passed"
    assert document["decided_by"] == "whole model"  # needed no kernel-by-kernel excuse
    assert len(document["outputs"]) == 1
    for output in document["outputs"]:
        if name.endswith("qdq8"):
            assert output["max_quanta"] <= QUANTA
        else:
            assert output["max_relative"] <= FLOAT_TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_arena_is_close_to_its_lower_bound(compiled: Compiled, name: str) -> None:
    """Scratch counts in the arena, not in the bound.

    Where a step takes pairs (x86), a row of a matrix of small integers is widened in scratch:
    taken off here, for a model of matrices alone has no more than that beside its weights.
    """
    report = compiled(name).report()
    totals, calls = report["totals"], report["kernels"]
    uses_winograd = any(is_winograd(call["kernel"]) for call in calls)
    share = WINOGRAD_ARENA_SHARE if uses_winograd else ARENA_SHARE
    if name.endswith("qdq8"):
        share = WIDENED_ARENA_SHARE
    assert 0 < totals["lower_bound_bytes"] <= totals["arena_bytes"]
    matrices = [call for call in calls if call["schedule"]["name"] == "integer-matmul"]
    widened = max((sum(call["scratch_bytes"]) for call in matrices), default=0)
    assert totals["arena_bytes"] - widened <= share * totals["lower_bound_bytes"]


@pytest.mark.parametrize("name", MODELS)
def test_every_kernel_knows_its_onnx_nodes(compiled: Compiled, name: str) -> None:
    calls = compiled(name).report()["kernels"]
    assert calls
    assert [call["kernel"] for call in calls if not call["onnx_nodes"]] == []
    sources = {call["schedule"]["source"] for call in calls}
    assert sources <= {"rule", "fallback"}  # no records were given
    assert "rule" in sources


def _right(logits: np.ndarray, labels: np.ndarray) -> float:
    """Percentage of samples whose largest output is the label's."""
    return 100 * float((logits.argmax(axis=1) == labels).mean())


def _reference(path: Path, samples: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None]})[0] for x in samples])


@pytest.mark.parametrize(
    ("data", "name", "least"),
    [
        ("mnist", "mnist_dscnn_f32", 98.0),
        ("mnist", "mnist_dscnn_qdq8", 97.8),
        ("kws", "kws_espeak_dscnn_f32", 95.2),
        ("kws", "kws_espeak_dscnn_qdq8", 94.9),
    ],
)
def test_accuracy_is_onnxruntimes(
    compiled: Compiled, models: Path, data: str, name: str, least: float
) -> None:
    """On the whole test set; `least` is what training reached, less 0.3 points."""
    with np.load(models / f"{data}_test.npz") as file:
        samples, labels = file["x"].astype(np.float32), file["y"]
    with load(compiled(name).path) as library:
        port, result = library.inputs[0].name, library.outputs[0].name
        got = np.concatenate([library.run({port: x[None]})[result] for x in samples])
    ours = _right(got, labels)
    theirs = _right(_reference(models / f"{name}.onnx", samples), labels)
    assert abs(ours - theirs) <= ACCURACY_POINTS
    assert ours >= least
