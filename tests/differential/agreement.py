"""The differential check: a model through the whole compiler against onnxruntime, same inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from tests.onnx_models import make_model

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


def for_all(strategy: SearchStrategy[Case], examples: int) -> None:
    """Check `examples` cases drawn from the strategy, the same ones in every run."""
    drawn = settings(
        max_examples=examples,
        deadline=None,  # a compile takes half a second
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    drawn(given(strategy)(lambda case: case.check()))()


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


@dataclass(frozen=True, slots=True)
class Case:
    """A model to check, in words that hypothesis prints when it fails."""

    text: str
    model: onnx.ModelProto = field(repr=False)
    inputs: Arrays = field(repr=False, default_factory=dict)  # others are drawn
    tolerance: float = 0.0
    threads: int = 1

    def check(self) -> None:
        assert_agrees(self.model, self.inputs, tolerance=self.tolerance, threads=self.threads)


Operand = np.ndarray | tuple[str, Sequence[int]] | None


def node_case(
    op_type: str,
    operands: Sequence[Any],
    *,
    results: Sequence[str] = ("float32",),
    inputs: Arrays | None = None,
    tolerance: float = 0.0,
    threads: int = 1,
    opset: int = 18,
    **attributes: Any,
) -> Case:
    """One node whose operands are constants (arrays), inputs (dtype and shape) or left out.

    Args:
        results: dtypes of the node's outputs ``y0``, ``y1``...
        inputs: arrays for some of the inputs ``x0``, ``x1``... (numbered by operand).
    """
    constants, ports, names, words = {}, {}, [], []
    for number, operand in enumerate(operands):
        name = "" if operand is None else f"x{number}"
        if isinstance(operand, np.ndarray):
            constants[name] = operand
            words.append(f"constant {operand.dtype}{list(operand.shape)}")
        elif operand is not None:
            ports[name] = (operand[0], list(operand[1]))
            words.append(f"{operand[0]}{list(operand[1])}")
        names.append(name)
    outputs = [f"y{number}" for number in range(len(results))]
    model = make_model(
        [helper.make_node(op_type, names, outputs, name="node", **attributes)],
        inputs=ports,
        outputs={name: (dtype, None) for name, dtype in zip(outputs, results, strict=True)},
        constants=constants,
        opset=opset,
    )
    text = f"{op_type}({', '.join(words)}) {attributes}"
    return Case(text, model, dict(inputs or {}), tolerance, threads)


def assert_agrees(
    model: onnx.ModelProto,
    inputs: Arrays | None = None,
    *,
    tolerance: float = 0.0,
    threads: int = 1,
) -> None:
    """Compile, run and compare with onnxruntime.

    Args:
        inputs: drawn where not given.
        tolerance: largest difference, as a share of the reference's largest value (at least 1);
            integers and booleans are equal whatever it is.
    """
    feed = {**draw_inputs(model), **(inputs or {})}
    got, want = run_compiled(model, feed, threads), run_reference(model, feed)
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
