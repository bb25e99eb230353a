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
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy, lists
from onnx import compose, helper

from compiler.errors import CompilerError
from compiler.library import load
from compiler.pipeline import compile as compile_model
from compiler.target_spec import TargetSpec, load_target
from tests.onnx_models import make_model

Arrays = Mapping[str, np.ndarray]

# Cases that are compiled as one model: most of a compile's time is the same for any model.
GROUP = 5
# How many groups a property gets: a few in every run, many where time does not matter.
EXAMPLES = [
    pytest.param(2, id="few"),
    pytest.param(8, id="many", marks=pytest.mark.slow),
]


@cache
def host() -> TargetSpec:
    """The machine that the tests run on."""
    return load_target("host")


def for_all(strategy: SearchStrategy[Case], examples: int) -> None:
    """Check groups of cases drawn from the strategy, the same ones in every run."""
    drawn = settings(
        max_examples=examples,
        deadline=None,  # a compile takes half a second
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a group that fails is taken apart; shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )
    groups = lists(strategy, min_size=GROUP, max_size=GROUP)
    drawn(given(groups)(_check_group))()


def _check_group(cases: list[Case]) -> None:
    """Check the cases as one model; if that fails, each alone, to say which one it is."""
    model, inputs = _joined(cases)
    feed = {**draw_inputs(model), **inputs}
    try:
        got = run_compiled(model, feed, cases[0].threads)
        want = run_reference(model, feed)
        tolerances = [case.tolerance for case in cases for _ in case.model.graph.output]
        for value, one, other, tolerance in zip(
            model.graph.output, got, want, tolerances, strict=True
        ):
            assert_close(value.name, one, other, tolerance)
    except (AssertionError, CompilerError):
        for case in cases:
            case.check()
        raise


def _joined(cases: Sequence[Case]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One model with the nodes of all, side by side, and the inputs that are given."""
    joined = onnx.ModelProto()
    joined.CopyFrom(cases[0].model)
    joined.graph.Clear()
    joined.graph.name = "joined"
    inputs: dict[str, np.ndarray] = {}
    for number, case in enumerate(cases):
        prefix = f"case{number}_"
        graph = compose.add_prefix(case.model, prefix).graph
        for name in ("node", "input", "output", "initializer"):
            getattr(joined.graph, name).extend(getattr(graph, name))
        inputs |= {prefix + name: array for name, array in case.inputs.items()}
    return joined, inputs


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
        assert_close(value.name, one, other, tolerance)


def assert_close(name: str, got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    """Compare one output, as `assert_agrees` describes."""
    assert got.dtype == want.dtype, name
    assert got.shape == want.shape, name
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, err_msg=name)
        return
    finite = want[np.isfinite(want)]
    atol = tolerance * max(1.0, float(np.abs(finite).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=name)
