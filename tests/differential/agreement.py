"""The differential check: a model through the whole compiler against onnxruntime, same inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from onnx import helper

from compiler.library import load
from compiler.pipeline import compile as compile_model
from compiler.target_spec import TargetSpec, load_target

Arrays = Mapping[str, np.ndarray]

# How many examples a property gets: a few in every run, many where time does not matter.
EXAMPLES = [
    pytest.param(8, id="few"),
    pytest.param(60, id="many", marks=pytest.mark.slow),
]


@cache
def host() -> TargetSpec:
    """The machine that the tests run on."""
    return load_target("host")


def for_all(strategy: SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    """Check `examples` things drawn from the strategy, the same ones in every run."""
    drawn = settings(
        max_examples=examples,
        deadline=None,  # a compile takes half a second
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    drawn(given(strategy)(lambda example: check(example)))()


def run_compiled(model: onnx.ModelProto, inputs: Arrays, threads: int = 1) -> list[np.ndarray]:
    """Return the outputs of the model, compiled for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        artifact = compile_model(path, target=host(), output=Path(folder) / "made", verify="skip")
        with load(artifact.path, threads=threads) as library:
            outputs = library.run(inputs)
        return [outputs[value.name] for value in model.graph.output]


def run_reference(model: onnx.ModelProto, inputs: Arrays) -> list[np.ndarray]:
    """Return what onnxruntime computes for the model, its graph optimizations off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(array) for array in session.run(None, dict(inputs))]


def draw_inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Return arrays for the model's inputs: floats standard normal, bools, small integers."""
    generator = np.random.default_rng(seed)
    drawn = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if dtype.kind == "f":
            array: Any = generator.standard_normal(shape)
        elif dtype.kind == "b":
            array = generator.integers(2, size=shape)
        elif dtype.kind == "u":
            array = generator.integers(20, size=shape)
        else:
            array = generator.integers(-10, 10, size=shape)
        drawn[value.name] = np.asarray(array).astype(dtype)
    return drawn


def assert_agrees(
    model: onnx.ModelProto, inputs: Arrays | None = None, *, tolerance: float = 0.0
) -> None:
    """Compile, run and compare with onnxruntime.

    Args:
        inputs: drawn where not given.
        tolerance: largest difference, as a share of the reference's largest value (at least 1);
            integers and booleans are equal whatever it is.
    """
    feed = {**draw_inputs(model), **(inputs or {})}
    got, want = run_compiled(model, feed), run_reference(model, feed)
    for value, one, other in zip(model.graph.output, got, want, strict=True):
        assert one.dtype == other.dtype, value.name
        assert one.shape == other.shape, value.name
        if other.dtype.kind == "f":
            finite = other[np.isfinite(other)]
            largest = max(1.0, float(np.abs(finite).max(initial=0)))
            np.testing.assert_allclose(
                one, other, rtol=0, atol=tolerance * largest, err_msg=value.name
            )
        else:
            np.testing.assert_array_equal(one, other, err_msg=value.name)
