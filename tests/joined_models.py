"""Models that join and split channels: as DenseNet, Inception and U-Net do, and plain splits."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from tests.onnx_models import make_model, weights

CHANNELS, SIZE = 16, 8


class _Net:
    """Nodes over images of `SIZE` x `SIZE`, each named after what it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {"slope": weights(1, 1, 1, 1)}

    def node(self, op_type: str, operands: list[str], *results: str, **attributes: Any) -> str:
        made = list(results)
        self.nodes.append(helper.make_node(op_type, operands, made, name=results[0], **attributes))
        return results[0]

    def conv(
        self, source: str, result: str, channels: int, kernel: int = 3, made: int = CHANNELS
    ) -> str:
        """A convolution from `channels` to `made` channels and a Relu."""
        shape = (made, channels, kernel, kernel)
        self.constants[f"{result}_w"] = weights(*shape, seed=len(self.constants))
        summed = self.node("Conv", [source, f"{result}_w"], f"{result}_c", pads=[kernel // 2] * 4)
        return self.node("Relu", [summed], result)

    def concat(self, operands: list[str], result: str) -> str:
        return self.node("Concat", operands, result, axis=1)

    def model(self, *outputs: str, size: int = SIZE) -> onnx.ModelProto:
        return make_model(
            self.nodes,
            inputs={"x": ("float32", [1, CHANNELS, size, size])},
            outputs=dict.fromkeys(outputs, ("float32", None)),
            constants=self.constants,
        )


def dense_model() -> onnx.ModelProto:
    """Each layer reads all layers before it, joined anew and through element-wise operators."""
    net = _Net()
    made = [net.conv("x", "f0", CHANNELS)]
    for layer in range(1, 4):
        joined = net.concat(made, f"j{layer}") if layer > 1 else made[0]
        changed = net.node("LeakyRelu", [joined], f"l{layer}")
        made.append(net.conv(changed, f"f{layer}", CHANNELS * layer, 1))
    net.conv(net.concat(made, "all"), "y", 4 * CHANNELS)
    return net.model("y")


def inception_model() -> onnx.ModelProto:
    """Branches of convolutions and of pooling; one branch is a concatenation itself."""
    net = _Net()
    stem = net.conv("x", "stem", CHANNELS)
    pooled = net.node(
        "MaxPool", [stem], "pooled", kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]
    )
    inner = net.concat([net.conv(stem, "b1", CHANNELS, 1), net.conv(stem, "b2", CHANNELS)], "b12")
    net.concat([pooled, inner, net.conv(stem, "b3", CHANNELS)], "y")
    return net.model("y")


def skip_model() -> onnx.ModelProto:
    """A skip connection is joined with what comes back from half the size."""
    net = _Net()
    skip = net.conv("x", "skip", CHANNELS)
    half = net.node("MaxPool", [skip], "half", kernel_shape=[2, 2], strides=[2, 2])
    deep = net.conv(half, "deep", CHANNELS)
    net.constants["scales"] = weights(4) * 0 + [1, 1, 2, 2]
    net.constants["scales"] = net.constants["scales"].astype("float32")
    wide = net.node("Resize", [deep, "", "scales"], "wide", mode="nearest")
    net.conv(net.concat([skip, wide], "joined"), "y", 2 * CHANNELS)
    return net.model("y")


def split_model() -> onnx.ModelProto:
    """Parts of an input and of a kernel's result are read by kernels; one is an output."""
    net = _Net()
    net.node("Split", ["x"], "x0", "x1", axis=1, num_outputs=2)
    net.node("Tanh", ["x1"], "t")
    net.node("Mul", ["x0", "t"], "gated")
    net.node("Softmax", ["gated"], "s", axis=3)
    net.node("Split", ["s"], "s0", "s1", axis=1, num_outputs=2)
    net.node("Neg", ["s1"], "y")
    return net.model("y", "s0")


def early_model() -> onnx.ModelProto:
    """A large operand is made before and a small one after what needs the most memory.

    In place, the 128 channels of both are alive beside two values of 128 channels, not only 112:
    an eighth of the copy.
    """
    net = _Net()
    early = net.conv("x", "early", CHANNELS, made=112)
    wide = net.conv(early, "wide", 112, made=128)
    wider = net.conv(wide, "wider", 128, made=128)
    small = net.conv(wider, "small", 128)
    late = net.conv(small, "late", CHANNELS, made=16)
    changed = net.node("Tanh", [net.concat([early, late], "joined")], "changed")
    net.conv(changed, "y", 128)
    return net.model("y")


JOINED_MODELS = {
    "dense": dense_model,
    "inception": inception_model,
    "skip": skip_model,
    "split": split_model,
}
