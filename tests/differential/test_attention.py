"""Attention in one kernel against onnxruntime: any sizes, masks and layouts of heads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import helper

from tests.differential.agreement import EXAMPLES, Case, for_all
from tests.onnx_models import make_model, weights

# Float32 sums of at most a few hundred numbers of size about 1, in another order.
TOLERANCE = 1e-5
MASKS = ("none", "position", "row-and-position", "constant", "constant-position")


@st.composite
def attentions(draw: st.DrawFn) -> Case:
    batch, heads = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    rows = draw(st.one_of(st.integers(6, 40), st.just(49), st.just(64)))
    positions = draw(st.one_of(st.integers(1, 40), st.integers(190, 210)))
    depth, columns = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    nodes = []
    sizes = {"q": (rows, depth), "k": (positions, depth), "v": (positions, columns)}
    shapes = {}
    for name, (length, width) in sizes.items():
        order = draw(st.sampled_from(["heads-first", "heads-inside"]))
        inside = order == "heads-inside"
        shapes[name] = [batch, length, heads, width] if inside else [batch, heads, length, width]
        # As [batch, heads, length, width], k with the last two swapped.
        perm = [0, 2, 1, 3] if inside else [0, 1, 2, 3]
        if name == "k":
            perm = [*perm[:2], perm[3], perm[2]]
        nodes.append(
            helper.make_node("Transpose", [name], [f"{name}t"], name=f"turn_{name}", perm=perm)
        )
    nodes.append(helper.make_node("MatMul", ["qt", "kt"], ["s"], name="scores"))
    nodes.append(helper.make_node("Mul", ["s", "c"], ["scaled"], name="scale"))
    constants = {"c": np.asarray(draw(st.sampled_from([1.0, 0.3])), np.float32)}
    kind, ready = draw(st.sampled_from(MASKS)), "scaled"
    if kind != "none":
        nodes.append(helper.make_node("Add", ["scaled", "mask"], ["masked"], name="add_mask"))
        ready = "masked"
    if kind in ("position", "row-and-position"):
        shapes["mask"] = [batch, 1, 1 if kind == "position" else rows, positions]
    elif kind == "constant":
        constants["mask"] = weights(heads, rows, positions)
    elif kind == "constant-position":
        constants["mask"] = weights(positions)
    nodes.append(helper.make_node("Softmax", [ready], ["p"], name="softmax", axis=-1))
    nodes.append(helper.make_node("MatMul", ["p", "vt"], ["o"], name="mix"))
    if draw(st.booleans()):
        nodes.append(helper.make_node("Transpose", ["o"], ["y"], name="merge", perm=[0, 2, 1, 3]))
    else:
        nodes.append(helper.make_node("Neg", ["o"], ["y"], name="negate"))
    model = make_model(
        nodes,
        inputs={name: ("float32", shape) for name, shape in shapes.items()},
        outputs={"y": ("float32", None)},
        constants=constants,
    )
    text = f"attention({shapes}, mask {kind})"
    return Case(text, model, tolerance=TOLERANCE, threads=draw(st.integers(1, 2)))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_attention(examples: int) -> None:
    for_all(attentions(), examples)
