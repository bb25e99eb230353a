"""Models whose channels are joined, shuffled and split, unit after unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import make_model

NODE = helper.make_node


def shuffle_model(
    *, channels: int = 6, groups: int = 2, units: int = 2, plane: Sequence[int] = (2, 3)
) -> onnx.ModelProto:
    """Each unit joins what passes by with what a Relu makes, shuffles both and splits them again.

    Args:
        channels: of each half; `groups` divides twice as many.
    """
    both = 2 * channels
    trailing = [3 + i for i in range(len(plane))]
    nodes = [NODE("Abs", ["x"], ["p0"], name="abs"), NODE("Relu", ["x"], ["r0"], name="relu")]
    for i in range(units):
        nodes += [
            NODE("Concat", [f"p{i}", f"r{i}"], [f"c{i}"], name=f"concat{i}", axis=1),
            NODE("Reshape", [f"c{i}", "apart"], [f"a{i}"], name=f"apart{i}"),
            NODE("Transpose", [f"a{i}"], [f"t{i}"], name=f"turn{i}", perm=[0, 2, 1, *trailing]),
            NODE("Reshape", [f"t{i}", "together"], [f"s{i}"], name=f"together{i}"),
            NODE(
                "Split", [f"s{i}"], [f"p{i + 1}", f"q{i}"], name=f"split{i}", axis=1, num_outputs=2
            ),
            NODE("Relu", [f"q{i}"], [f"r{i + 1}"], name=f"relu{i}"),
        ]
    nodes.append(NODE("Sub", [f"p{units}", f"r{units}"], ["y"], name="last"))
    return make_model(
        nodes,
        inputs={"x": ("float32", [2, channels, *plane])},
        outputs={"y": ("float32", [2, channels, *plane])},
        constants={
            "apart": np.array([2, groups, both // groups, *plane], np.int64),
            "together": np.array([2, both, *plane], np.int64),
        },
    )
