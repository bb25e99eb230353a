"""Models that quantize while they run: DynamicQuantizeLinear and what reads its integers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import make_model

CHANNELS, HEIGHT, WIDTH = 8, 7, 6
IMAGE = (1, CHANNELS, HEIGHT, WIDTH)
# By name: output channels, groups, kernel, pads, strides.
CONVOLUTIONS = {
    "dense": (20, 1, (3, 3), (1, 0, 1, 2), (1, 1)),
    "strided": (16, 1, (3, 2), (1, 1, 0, 0), (2, 2)),
    "pointwise": (12, 1, (1, 1), (0, 0, 0, 0), (1, 1)),
    "grouped": (16, 2, (3, 3), (1, 1, 1, 1), (1, 1)),
    "depthwise": (8, 8, (3, 3), (2, 1, 0, 1), (1, 1)),
}


def weights_of(*shape: int, seed: int) -> np.ndarray:
    """All integers of int8 occur, -128 among them: sums of two products then need 17 bits."""
    drawn = np.random.default_rng(seed).integers(-128, 128, shape)
    drawn.flat[:2] = -128
    return drawn.astype(np.int8)


def dynamic_sums_model() -> onnx.ModelProto:
    """Integers, scale, zero point, and the sums of five convolutions and a product of one input."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic"),
        helper.make_node("MatMulInteger", ["q", "wm", "z", "zm"], ["product"], "product"),
    ]
    rng = np.random.default_rng(5)
    constants = {
        "wm": weights_of(WIDTH, 19, seed=9),
        "zm": rng.integers(-5, 6, 19).astype(np.int8),
    }
    outputs = {
        "q": ("uint8", IMAGE),
        "s": ("float32", ()),
        "z": ("uint8", ()),
        "product": ("int32", (*IMAGE[:3], 19)),
    }
    for seed, (name, (out, groups, kernel, pads, strides)) in enumerate(CONVOLUTIONS.items()):
        constants[f"w_{name}"] = weights_of(out, CHANNELS // groups, *kernel, seed=seed)
        constants[f"z_{name}"] = np.asarray(seed - 2, np.int8)
        inputs = ["q", f"w_{name}", "z", f"z_{name}"]
        nodes.append(
            helper.make_node(
                *("ConvInteger", inputs, [name], f"conv_{name}"),
                group=groups,
                pads=list(pads),
                strides=list(strides),
            )
        )
        size = [
            (extent + pads[i] + pads[i + 2] - kernel[i]) // strides[i] + 1
            for i, extent in enumerate((HEIGHT, WIDTH))
        ]
        outputs[name] = ("int32", (1, out, *size))
    return make_model(nodes, inputs={"x": ("float32", IMAGE)}, outputs=outputs, constants=constants)


def images() -> list[dict[str, np.ndarray]]:
    """With numbers on both sides of 0, above it only, below it only, and nothing but 0."""
    drawn = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    return [{"x": x} for x in (drawn, np.abs(drawn) + 1, -np.abs(drawn), 0 * drawn)]
