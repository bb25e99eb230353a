"""Matrix products of every shape against onnxruntime."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from onnx import helper

from tests.differential.agreement import EXAMPLES, Case, Operand, for_all, node_case
from tests.onnx_models import make_model, weights

# Float32 sums of at most 70 products of size about 1, in another order.
TOLERANCE = 1e-5

extents = st.one_of(st.integers(1, 9), st.integers(10, 70))


@st.composite
def plain_products(draw: st.DrawFn) -> Case:
    """``[M, K] x [K, N]``; M = 1 and N = 1 among them."""
    rows, depth, columns = draw(extents), draw(extents), draw(extents)
    constant = draw(st.booleans())
    right: Operand = weights(depth, columns) if constant else ("float32", [depth, columns])
    return node_case(
        "MatMul",
        [("float32", [rows, depth]), right],
        tolerance=TOLERANCE,
        threads=draw(st.integers(1, 2)),
    )


@st.composite
def batched_products(draw: st.DrawFn) -> Case:
    """Leading axes equal, missing or 1 on either side."""
    rows, depth, columns = (draw(st.integers(1, 18)) for _ in range(3))
    batch = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    sides = []
    for shape in ([rows, depth], [depth, columns]):
        leading = [size if draw(st.booleans()) else 1 for size in batch]
        leading = draw(st.sampled_from([batch, batch, leading, leading[1:], []]))
        sides.append([*leading, *shape])
    left, right = sides
    constant = draw(st.booleans())
    operands: list[Operand] = [
        ("float32", left),
        weights(*right) if constant else ("float32", right),
    ]
    return node_case("MatMul", operands, tolerance=TOLERANCE)


@st.composite
def vector_products(draw: st.DrawFn) -> Case:
    """One side, or both, of rank 1."""
    depth, other = draw(extents), draw(extents)
    left, right = draw(
        st.sampled_from([([depth], [depth, other]), ([other, depth], [depth]), ([depth], [depth])])
    )
    return node_case("MatMul", [("float32", left), ("float32", right)], tolerance=TOLERANCE)


@st.composite
def gemms(draw: st.DrawFn) -> Case:
    rows, depth, columns = (draw(st.integers(1, 34)) for _ in range(3))
    transposed: dict[str, Any] = {
        "transA": draw(st.integers(0, 1)),
        "transB": draw(st.integers(0, 1)),
    }
    left = [depth, rows] if transposed["transA"] else [rows, depth]
    right = [columns, depth] if transposed["transB"] else [depth, columns]
    operands: list[Operand] = [("float32", left)]
    operands.append(weights(*right) if draw(st.booleans()) else ("float32", right))
    shapes = [None, [rows, columns], [1, columns], [rows, 1], [columns], [1], []]
    bias = draw(st.sampled_from(shapes))
    if bias is not None:
        operands.append(weights(*bias, seed=2) if draw(st.booleans()) else ("float32", bias))
    factors: dict[str, Any] = {
        name: draw(st.sampled_from([1.0, 0.5, -2.0, 0.0])) for name in ("alpha", "beta")
    }
    return node_case("Gemm", operands, tolerance=TOLERANCE, **transposed, **factors)


@st.composite
def activated_products(draw: st.DrawFn) -> Case:
    """A function that is dear after the product; of some rows spans are made, of others not."""
    batch = draw(st.sampled_from([[], [], [1], [2]]))
    rows, depth, columns = draw(st.integers(1, 150)), draw(extents), draw(extents)
    function = draw(st.sampled_from(["Sigmoid", "Tanh", "Erf", "Exp"]))
    right = weights(*([] if draw(st.booleans()) else batch), depth, columns)
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
            helper.make_node(function, ["product"], ["y"], name="function"),
        ],
        inputs={"x": ("float32", [*batch, rows, depth])},
        outputs={"y": ("float32", [*batch, rows, columns])},
        constants={"w": right},
    )
    text = f"{function}({batch} {rows} x {depth} x {columns})"
    return Case(text, model, tolerance=TOLERANCE, threads=draw(st.integers(1, 2)))


STRATEGIES = {
    "plain": plain_products(),
    "batched": batched_products(),
    "vectors": vector_products(),
    "gemm": gemms(),
    "activated": activated_products(),
}


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", STRATEGIES)
def test_product(kind: str, examples: int) -> None:
    for_all(STRATEGIES[kind], examples)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "int64"])
def test_product_of_other_types(dtype: str) -> None:
    operands = [(dtype, [5, 7]), (dtype, [7, 9])]
    # float16 keeps 11 bits; sums of 7 products of size 1 are rounded at every step.
    tolerance = 1e-2 if dtype == "float16" else 1e-12
    node_case("MatMul", operands, results=[dtype], tolerance=tolerance).check()


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", [[2, 3, 4], [2, 4, 5]]),
        ("bhid,bhjd->bhij", [[1, 2, 3, 4], [1, 2, 5, 4]]),
        ("ij,kj->ki", [[3, 4], [5, 4]]),
        ("i,j->ij", [[3], [4]]),
        ("ii->i", [[3, 3]]),
    ],
)
def test_einsum(equation: str, shapes: list[list[int]]) -> None:
    operands = [("float32", shape) for shape in shapes]
    node_case("Einsum", operands, tolerance=TOLERANCE, equation=equation).check()
