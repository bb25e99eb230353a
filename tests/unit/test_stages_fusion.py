"""Stages that decide what is computed once: folded statistics, sums that many elements read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.onnx_import.to_relax import to_relax
from compiler.stages.batch_norm import fold_batch_norm
from tests.differential.agreement import run_compiled, run_reference
from tests.lowered import loaded, workloads
from tests.onnx_models import make_model, weights

NODE = helper.make_node
STATISTICS = ("gamma", "beta", "mean", "variance")


def _batch_norm_model(*, constant_mean: bool = True) -> onnx.ModelProto:
    constants = {name: weights(4, seed=i) for i, name in enumerate(STATISTICS)}
    constants["variance"] = np.abs(constants["variance"]) + 0.1
    inputs: dict[str, tuple[str, list[int]]] = {"x": ("float32", [2, 4, 3, 5])}
    if not constant_mean:
        del constants["mean"]
        inputs["mean"] = ("float32", [4])
    return make_model(
        [NODE("BatchNormalization", ["x", *STATISTICS], ["y"], name="norm", epsilon=1e-3)],
        inputs=inputs,
        outputs={"y": ("float32", [2, 4, 3, 5])},
        constants=constants,
    )


def test_batch_norm_is_a_product_and_a_sum() -> None:
    (kernel,) = workloads(_batch_norm_model()).functions
    assert kernel.startswith("multiply_add_float32")
    x = np.random.default_rng(0).standard_normal((2, 4, 3, 5)).astype(np.float32)
    (got,) = run_compiled(_batch_norm_model(), {"x": x})
    (want,) = run_reference(_batch_norm_model(), {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_batch_norm_with_computed_statistics_stays() -> None:
    mod = to_relax(loaded(_batch_norm_model(constant_mean=False)))
    assert "nn.batch_norm" in mod.script(show_meta=False)
    assert fold_batch_norm(mod).script(show_meta=False) == mod.script(show_meta=False)


def _gate_model(gate: list[int], *between: str) -> onnx.ModelProto:
    """``x * f(conv(z))``: the convolution has the extents `gate`."""
    nodes, last = [NODE("Conv", ["z", "w"], ["c"], name="conv")], "c"
    for number, op_type in enumerate(between):
        nodes.append(NODE(op_type, [last], [f"g{number}"], name=f"gate{number}"))
        last = f"g{number}"
    nodes.append(NODE("Mul", ["x", last], ["y"], name="multiply"))
    return make_model(
        nodes,
        inputs={"x": ("float32", [1, 16, 5, 5]), "z": ("float32", [1, 8, *gate])},
        outputs={"y": ("float32", [1, 16, 5, 5])},
        constants={"w": weights(16, 8, 1, 1)},
    )


@pytest.mark.parametrize("between", [(), ("Sigmoid",), ("Relu", "Sigmoid")])
def test_sum_that_many_elements_read_is_a_kernel_of_its_own(between: tuple[str, ...]) -> None:
    names = list(workloads(_gate_model([1, 1], *between)).functions)
    assert [name for name in names if "conv2d" in name and "multiply" in name] == []


def test_sum_that_one_element_reads_keeps_its_epilogue() -> None:
    names = list(workloads(_gate_model([5, 5], "Sigmoid")).functions)
    assert [name for name in names if "conv2d_sigmoid_multiply" in name]
