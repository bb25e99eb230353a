"""Softmax, normalizations, reductions and running sums against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from compiler.errors import UnsupportedError
from tests.differential.agreement import EXAMPLES, Case, Operand, for_all, node_case
from tests.normalization_models import ROOTS, SQUARES, written_out_model
from tests.onnx_models import weights

# Float32 sums of at most a few hundred numbers of size about 1, in another order; exp and log
# of LLVM and onnxruntime differ by a few units in the last place.
TOLERANCE = 1e-5

shapes = st.lists(st.one_of(st.integers(1, 6), st.integers(7, 40)), min_size=1, max_size=4).filter(
    lambda shape: np.prod(shape) <= 5000
)


@st.composite
def along_one_axis(draw: st.DrawFn, op_type: str) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    return node_case(
        op_type,
        [("float32", shape)],
        tolerance=TOLERANCE,
        threads=draw(st.integers(1, 2)),
        axis=axis,
    )


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax(op_type: str, examples: int) -> None:
    for_all(along_one_axis(op_type), examples)


@st.composite
def layer_norms(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    # One element has variance 0: what is left is rounding, magnified by 1 / sqrt(epsilon).
    epsilon = draw(st.sampled_from([1e-5, 1e-2]))
    operands: list[Operand] = [("float32", shape), weights(*shape[axis:])]
    if draw(st.booleans()):
        operands.append(weights(*shape[axis:], seed=1))
    return node_case("LayerNormalization", operands, tolerance=1e-4, axis=axis, epsilon=epsilon)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_layer_normalization(examples: int) -> None:
    for_all(layer_norms(), examples)


@st.composite
def rms_norms(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), -1))
    operands: list[Operand] = [("float32", shape), weights(*shape[axis:])]
    epsilon = draw(st.sampled_from([1e-5, 1e-2]))
    return node_case(
        "RMSNormalization", operands, tolerance=1e-4, opset=23, axis=axis, epsilon=epsilon
    )


@pytest.mark.parametrize("examples", EXAMPLES)
def test_rms_normalization(examples: int) -> None:
    for_all(rms_norms(), examples)


@st.composite
def written_out_norms(draw: st.DrawFn) -> Case:
    """Layer and root-mean-square normalisation in primitive operators."""
    shape = draw(shapes.filter(lambda shape: shape[-1] > 1))
    centred, gamma = draw(st.booleans()), draw(st.booleans())
    model = written_out_model(
        shape,
        centred=centred,
        square=draw(st.sampled_from(SQUARES)),
        root=draw(st.sampled_from(ROOTS)),
        gamma=gamma,
        beta=draw(st.booleans()),
    )
    return Case(f"{shape} centred {centred} gamma {gamma}", model, tolerance=1e-4)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_written_out_normalization(examples: int) -> None:
    for_all(written_out_norms(), examples)


IMAGES = [[2, 6, 5, 3], [1, 6, 1, 9], [2, 6, 7]]


@pytest.mark.parametrize("shape", IMAGES)
def test_instance_normalization(shape: list[int]) -> None:
    operands = [("float32", shape), weights(6), weights(6, seed=1)]
    node_case("InstanceNormalization", operands, tolerance=1e-4).check()


@pytest.mark.xfail(
    strict=True,
    raises=UnsupportedError,
    reason="ONNX's shape inference gives GroupNormalization no shape, so it is refused",
)
@pytest.mark.parametrize("shape", IMAGES)
def test_group_normalization(shape: list[int]) -> None:
    operands = [("float32", shape), weights(6), weights(6, seed=1)]
    node_case("GroupNormalization", operands, tolerance=1e-4, opset=21, num_groups=3).check()


REDUCTIONS = ("Max", "Mean", "Min", "Prod", "Sum", "L1", "L2", "LogSumExp", "SumSquare")


@st.composite
def reductions(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    name = draw(st.sampled_from(REDUCTIONS))
    axes = draw(st.sets(st.integers(0, len(shape) - 1)))
    signed = [axis - len(shape) if draw(st.booleans()) else axis for axis in sorted(axes)]
    operands: list[Operand] = [("float32", shape)]
    if axes:
        operands.append(np.asarray(signed, np.int64))
    keep = draw(st.integers(0, 1))
    return node_case(f"Reduce{name}", operands, tolerance=TOLERANCE, keepdims=keep)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_reduction(examples: int) -> None:
    for_all(reductions(), examples)


@st.composite
def best_places(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    # Few different numbers, so that equal ones compete.
    values = np.random.default_rng(len(shape)).integers(0, 4, shape).astype(np.float32)
    return node_case(
        draw(st.sampled_from(["ArgMax", "ArgMin"])),
        [("float32", shape)],
        results=["int64"],
        inputs={"x0": values},
        axis=draw(st.integers(-len(shape), len(shape) - 1)),
        keepdims=draw(st.integers(0, 1)),
        select_last_index=draw(st.integers(0, 1)),
    )


@pytest.mark.parametrize("examples", EXAMPLES)
def test_place_of_the_largest(examples: int) -> None:
    for_all(best_places(), examples)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_running_sum(axis: int, exclusive: int, reverse: int) -> None:
    operands = [("float32", [3, 4, 5]), np.asarray(axis, np.int64)]
    node_case("CumSum", operands, tolerance=TOLERANCE, exclusive=exclusive, reverse=reverse).check()
