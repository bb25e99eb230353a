"""Products in halves on 64-bit Arm: what becomes float16, and what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from compiler.code_generation import GeneratedCode, generate_code
from compiler.onnx_import.load import load_model
from compiler.program import Program
from compiler.target_spec import load_target
from compiler.tuning.store import NO_RECORDS
from tests.onnx_models import conv_net_model, make_model, save, weights


def generated(model: onnx.ModelProto, folder: Path, target: str = "neoverse-n1") -> GeneratedCode:
    return generate_code(
        load_model(save(model, folder / "net.onnx")),
        load_target(target),
        NO_RECORDS,
        exact=False,
        precision="fp16",
        jobs=1,
        dump_stages=None,
        report=lambda _: None,
    )


def kind_of(program: Program, name: str) -> str:
    return next(value.dtype for value in program.values if value.onnx_name == name)


def dense_pair(first: np.ndarray, second: np.ndarray) -> onnx.ModelProto:
    """Two products with a ReLU and a residual sum: t is read by a product and by the sum."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"], name="first_product"),
        helper.make_node("Relu", ["h"], ["t"], name="relu"),
        helper.make_node("MatMul", ["t", "second"], ["u"], name="second_product"),
        helper.make_node("Add", ["t", "u"], ["s"], name="sum"),
        helper.make_node("Softmax", ["s"], ["y"], name="softmax"),
    ]
    shape = ("float32", (4, 16))
    constants = {"first": first, "second": second}
    return make_model(nodes, inputs={"x": shape}, outputs={"y": shape}, constants=constants)


def test_what_products_read_is_stored_as_halves(tmp_path: Path) -> None:
    code = generated(dense_pair(weights(16, 16, seed=1), weights(16, 16, seed=2)), tmp_path)
    program = code.program
    assert kind_of(program, "t") == "float16"
    # Of no product: the sum that softmax reads, the model's input and output.
    assert {kind_of(program, name) for name in ("x", "s", "y")} == {"float32"}
    # The first product would have to round what the caller owns: it is computed in float32.
    kinds = [str(array.dtype) for array in program.constants.values()]
    assert sorted(kinds) == ["float16", "float32"]
    called = {s for kernel in code.kernels.values() for s in kernel.runtime_symbols}
    assert called == {"tunesmith_half_sums"}


def test_weight_beyond_halves_stays_float(tmp_path: Path) -> None:
    large = weights(16, 16, seed=2)
    large[0, 0] = 7e4
    code = generated(dense_pair(weights(16, 16, seed=1), large), tmp_path)
    assert {str(array.dtype) for array in code.program.constants.values()} == {"float32"}
    assert not any(kernel.runtime_symbols for kernel in code.kernels.values())


def test_convolutions_pad_as_halves(tmp_path: Path) -> None:
    """The first one copies its padded rows, so the caller's floats are rounded on the way."""
    code = generated(conv_net_model(size=32), tmp_path)
    first = code.program.calls[0]
    assert code.kernels[first.kernel].schedule.name == "half-conv2d"
    rules = {kernel.schedule.name for kernel in code.kernels.values()}
    assert {"half-conv2d", "half-depthwise-conv2d", "half-matmul"} & rules >= {"half-conv2d"}
    assert all(code.program.values[port.value].dtype == "float32" for port in code.program.outputs)


def test_layout_has_four_registers_of_halves_to_a_block() -> None:
    spec = load_target("cortex-a76")
    layout = spec.with_half_products()
    assert layout.lanes(dtype_bits=32) == 32
    assert layout.vector.scalable
    assert replace(layout, vector=spec.vector) == spec
