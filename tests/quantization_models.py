"""Small networks for tests of the quantizer, and samples for them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import make_model, weights


def samples(*shape: int, count: int = 12, seed: int = 5) -> list[dict[str, np.ndarray]]:
    """Return inputs x of this shape, standard normal."""
    generator = np.random.default_rng(seed)
    return [{"x": generator.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def uneven_model(*, limit: float | None = None) -> onnx.ModelProto:
    """Return conv 1x1 -> Relu (or Clip 0..limit) -> depthwise -> conv 1x1 -> + -> conv 1x1 -> pool.

    x [1, 4, 8, 8] -> y [1, 5]. The channels of the inner values differ a hundred times in range;
    the sum joins the results of two layers.
    """
    spread = np.geomspace(0.01, 1.0, 8).astype(np.float32)
    activation = (
        helper.make_node("Relu", ["c0"], ["r0"], name="act0")
        if limit is None
        else helper.make_node("Clip", ["c0", "zero", "limit"], ["r0"], name="act0")
    )
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], name="expand"),
        activation,
        helper.make_node(
            "Conv", ["r0", "w1", "b1"], ["c1"], name="depthwise", group=8, pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["c1"], ["r1"], name="act1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="project"),
        helper.make_node("Conv", ["r1", "w3", "b3"], ["c3"], name="beside"),
        helper.make_node("Add", ["c2", "c3"], ["s"], name="sum"),
        helper.make_node("Conv", ["s", "w4", "b4"], ["c4"], name="last"),
        helper.make_node("GlobalAveragePool", ["c4"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flatten"),
    ]
    constants = {
        "w0": weights(8, 4, 1, 1) * spread[:, None, None, None],
        "b0": weights(8, seed=1) * spread,
        "w1": weights(8, 1, 3, 3, seed=2),
        "b1": weights(8, seed=3) * spread,
        "w2": weights(6, 8, 1, 1, seed=4) / spread[None, :, None, None],
        "w3": weights(6, 8, 1, 1, seed=5) / spread[None, :, None, None],
        "b3": weights(6, seed=6),
        "w4": weights(5, 6, 1, 1, seed=7),
        "b4": weights(5, seed=8),
        "zero": np.asarray(0, np.float32),
        "limit": np.asarray(limit or 0, np.float32),
    }
    return make_model(
        nodes,
        inputs={"x": ("float32", [1, 4, 8, 8])},
        outputs={"y": ("float32", [1, 5])},
        constants=constants,
    )


def attention_like_model() -> onnx.ModelProto:
    """Return a dense layer, a normalisation written out, and two dense layers that read it.

    x [6, 8] -> y [6, 4], z [6, 8]; z is the normalised value plus the first dense result.
    """
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["m"], name="dense"),
        helper.make_node("Add", ["m", "b0"], ["a"], name="bias"),
        helper.make_node("ReduceMean", ["a", "axes"], ["mean"], name="mean"),
        helper.make_node("Sub", ["a", "mean"], ["centred"], name="centre"),
        helper.make_node("Mul", ["centred", "scale"], ["n"], name="scale"),
        helper.make_node("MatMul", ["n", "w1"], ["q"], name="query"),
        helper.make_node("MatMul", ["n", "w1"], ["k"], name="key"),
        helper.make_node("Transpose", ["k"], ["kt"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["y"], name="softmax"),
        helper.make_node("Add", ["n", "a"], ["z"], name="residual"),
    ]
    constants = {
        "w0": weights(8, 8),
        "b0": weights(8, seed=1),
        "axes": np.asarray([-1], np.int64),
        "scale": np.asarray(1.5, np.float32),
        "w1": weights(8, 8, seed=2),
    }
    return make_model(
        nodes,
        inputs={"x": ("float32", [6, 8])},
        outputs={"y": ("float32", [6, 6]), "z": ("float32", [6, 8])},
        constants=constants,
    )
