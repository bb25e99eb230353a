"""Models whose middle is in blocked layout."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import make_model, weights


def chain_model(
    *, last: str = "Conv", channels: int = 8, after_depthwise: str = "", mode: str = "nearest"
) -> onnx.ModelProto:
    """x -> convolution -> depthwise -> pointwise -> `last` -> y.

    Args:
        last: "Conv", or what ends the chain: "Resize" and a "Conv", "Softmax", "GlobalAveragePool".
        channels: of everything between.
        after_depthwise: an operator on each element, none if empty.
        mode: of a Resize.
    """
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], name="stem_relu"),
        helper.make_node(
            "Conv", ["r0", "w1"], ["c1"], name="depthwise", group=channels, pads=[1, 1, 1, 1]
        ),
        helper.make_node("Conv", ["d1", "w2"], ["c2"], name="pointwise"),
        helper.make_node("Add", ["c2", "r0"], ["a2"], name="residual"),
    ]
    if after_depthwise:
        nodes.insert(3, helper.make_node(after_depthwise, ["c1"], ["d1"], name=after_depthwise))
    else:
        nodes[2].output[0] = "d1"
    constants = {
        "w0": weights(channels, 3, 3, 3, seed=0),
        "w1": weights(channels, 1, 3, 3, seed=1),
        "w2": weights(channels, channels, 1, 1, seed=2),
    }
    out_shape = [1, channels, 4, 4]
    if last == "Conv":
        nodes.append(helper.make_node("Conv", ["a2", "w3"], ["y"], name="last"))
        constants["w3"] = weights(channels, channels, 1, 1, seed=3)
    elif last == "Resize":
        nodes += [
            helper.make_node("Resize", ["a2", "", "scales"], ["b2"], name="resize", mode=mode),
            helper.make_node("Conv", ["b2", "w3"], ["y"], name="last"),
        ]
        constants["scales"] = np.array([1, 1, 2, 3], np.float32)
        constants["w3"] = weights(channels, channels, 1, 1, seed=3)
        out_shape = [1, channels, 8, 12]
    elif last == "GlobalAveragePool":
        nodes.append(helper.make_node(last, ["a2"], ["y"], name="last"))
        out_shape = [1, channels, 1, 1]
    else:
        nodes.append(helper.make_node(last, ["a2"], ["y"], name="last", axis=1))
    return make_model(
        nodes,
        inputs={"x": ("float32", [1, 3, 4, 4])},
        outputs={"y": ("float32", out_shape)},
        constants=constants,
    )


def activated_model(
    activation: str, *, filters: int, size: tuple[int, int], kernel: int, stride: int, group: int
) -> onnx.ModelProto:
    """x -> convolution -> convolution -> `activation`, times its operand -> pointwise -> y."""
    node = helper.make_node
    pads, strides = [kernel // 2] * 4, [stride, stride]
    channels = 16
    shape = [1 + (extent + 2 * (kernel // 2) - kernel) // stride for extent in size]
    return make_model(
        [
            node("Conv", ["x", "w0"], ["c0"], name="stem"),
            node("Conv", ["c0", "w1"], ["c1"], pads=pads, strides=strides, group=group),
            node(activation, ["c1"], ["a1"], name="activation"),
            node("Mul", ["c1", "a1"], ["m1"], name="product"),
            node("Conv", ["m1", "w2"], ["y"], name="last"),
        ],
        inputs={"x": ("float32", [1, 3, *size])},
        outputs={"y": ("float32", [1, 8, *shape])},
        constants={
            "w0": weights(channels, 3, 1, 1, seed=0),
            "w1": weights(filters, channels // group, kernel, kernel, seed=1),
            "w2": weights(8, filters, 1, 1, seed=2),
        },
    )


def channels_last_model(channels: int = 8) -> onnx.ModelProto:
    """x -> depthwise -> channels last -> normalisation -> channels second -> pointwise -> y."""
    node = helper.make_node
    return make_model(
        [
            node("Conv", ["x", "w0"], ["c0"], name="stem"),
            node("Conv", ["c0", "w1"], ["c1"], name="depthwise", group=channels, pads=[1, 1, 1, 1]),
            node("Transpose", ["c1"], ["t0"], name="to_last", perm=[0, 2, 3, 1]),
            node("LayerNormalization", ["t0", "g"], ["n"], name="norm"),
            node("Transpose", ["n"], ["t1"], name="from_last", perm=[0, 3, 1, 2]),
            node("Conv", ["t1", "w2"], ["y"], name="pointwise"),
        ],
        inputs={"x": ("float32", [1, 3, 4, 5])},
        outputs={"y": ("float32", [1, channels, 4, 5])},
        constants={
            "w0": weights(channels, 3, 1, 1, seed=0),
            "w1": weights(channels, 1, 3, 3, seed=1),
            "g": weights(channels, seed=2),
            "w2": weights(channels, channels, 1, 1, seed=3),
        },
    )


def head_model(*, also_blocked: bool = False) -> onnx.ModelProto:
    """x -> convolution to 16 channels -> 5 x 3 convolution to one channel -> y.

    Args:
        also_blocked: a 3 x 3 convolution with 16 output channels reads the first one's result too.
    """
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
        node("Conv", ["c0", "w1"], ["y"], name="head", pads=[2, 1, 2, 1]),
    ]
    outputs = {"y": ("float32", [1, 1, 6, 40])}
    constants = {"w0": weights(16, 3, 3, 3, seed=0), "w1": weights(1, 16, 5, 3, seed=1)}
    if also_blocked:
        nodes.append(node("Conv", ["c0", "w2"], ["z"], name="body", pads=[1, 1, 1, 1]))
        outputs["z"] = ("float32", [1, 16, 6, 40])
        constants["w2"] = weights(16, 16, 3, 3, seed=2)
    return make_model(
        nodes, inputs={"x": ("float32", [1, 3, 6, 40])}, outputs=outputs, constants=constants
    )


def grouped_model(
    channels: int, groups: int, *, size: int = 7, stride: int = 1, kernel: int = 3
) -> onnx.ModelProto:
    """x -> convolution -> convolution in groups -> pointwise convolution -> y."""
    node = helper.make_node
    pads = [kernel // 2] * 4
    return make_model(
        [
            node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
            node(
                "Conv",
                ["c0", "w1"],
                ["c1"],
                name="grouped",
                group=groups,
                pads=pads,
                strides=[stride, stride],
            ),
            node("Relu", ["c1"], ["r1"], name="relu"),
            node("Conv", ["r1", "w2"], ["y"], name="pointwise"),
        ],
        inputs={"x": ("float32", [1, 3, size, size])},
        outputs={"y": ("float32", None)},
        constants={
            "w0": weights(channels, 3, 3, 3, seed=0),
            "w1": weights(channels, channels // groups, kernel, kernel, seed=1),
            "w2": weights(channels, channels, 1, 1, seed=2),
        },
    )


def parts_model(begins: list[int], ends: list[int], sections: list[int]) -> onnx.ModelProto:
    """x -> convolution to 32 channels -> slice of channels and rows -> split -> two convolutions.

    Args:
        begins, ends: of the slice, channels and rows.
        sections: channels of the two parts of the split.
    """
    node = helper.make_node
    return make_model(
        [
            node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
            node("Slice", ["c0", "begins", "ends", "axes"], ["s"], name="slice"),
            node("Relu", ["s"], ["r"], name="relu"),
            node("Split", ["r", "sections"], ["p0", "p1"], name="split", axis=1),
            node("Conv", ["p0", "w1"], ["y"], name="first"),
            node("Conv", ["p1", "w2"], ["z"], name="second"),
        ],
        inputs={"x": ("float32", [1, 3, 7, 6])},
        outputs={"y": ("float32", None), "z": ("float32", None)},
        constants={
            "w0": weights(32, 3, 3, 3, seed=0),
            "w1": weights(16, sections[0], 1, 1, seed=1),
            "w2": weights(16, sections[1], 1, 1, seed=2),
            "begins": np.asarray(begins, np.int64),
            "ends": np.asarray(ends, np.int64),
            "axes": np.asarray([1, 2], np.int64),
            "sections": np.asarray(sections, np.int64),
        },
    )
