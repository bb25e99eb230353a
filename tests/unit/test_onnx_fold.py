"""Folding of constants, no-ops, branches and affine steps: same numbers, fewer nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from tests.onnx_models import (
    Inputs,
    batch_norm_model,
    make_model,
    qdq_model,
    run_onnx,
    save,
    tensor_info,
    weights,
)

IMAGE: Inputs = {"x": ("float32", [1, 4, 6, 6])}
SAME: Inputs = {"y": ("float32", [1, 4, 6, 6])}


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **options: Any) -> Any:
    return helper.make_node(op_type, inputs, outputs, **{"name": f"the {op_type}", **options})


def load(tmp_path: Path, model: onnx.ModelProto, **options: Any) -> Model:
    """Load the model and check that folding changed no number beyond rounding."""
    loaded = load_model(save(model, tmp_path / "m.onnx"), **options)
    for got, expected in zip(run_onnx(loaded.proto), run_onnx(loaded.source), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)  # weights are rounded once
    return loaded


def op_types(model: Model) -> list[str]:
    return [n.op_type for n in model.proto.graph.node]


def constants_of(model: Model) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}


def test_shape_arithmetic(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Constant", [], ["zero"], value_int=0),
        node("Gather", ["s", "zero"], ["batch"]),
        node("Constant", [], ["axes"], value_ints=[0]),
        node("Unsqueeze", ["batch", "axes"], ["batch1"]),
        node("Constant", [], ["rest"], value=numpy_helper.from_array(np.asarray([-1]))),
        node("Concat", ["batch1", "rest"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["y"]),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", ["N", 4, 6, 6])},
        outputs={"y": ("float32", [None, None])},
    )
    loaded = load(tmp_path, model, shapes={"x": (2, 4, 6, 6)})
    assert op_types(loaded) == ["Reshape"]
    assert loaded.outputs[0].shape == (2, 144)
    assert {name: list(array) for name, array in constants_of(loaded).items()} == {"shape": [2, -1]}


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [({}, [1, 4, 6, 7]), ({"start": 1}, [4, 6, 7]), ({"start": -2, "end": -1}, [6])],
)
def test_shape_with_bounds(tmp_path: Path, bounds: dict[str, int], expected: list[int]) -> None:
    nodes = [node("Shape", ["x"], ["y"], **bounds), node("Relu", ["x"], ["z"])]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [1, 4, 6, 7])},
        outputs={"y": ("int64", [len(expected)]), "z": ("float32", [1, 4, 6, 7])},
    )
    assert list(constants_of(load(tmp_path, model))["y"]) == expected


def test_size(tmp_path: Path) -> None:
    nodes = [
        node("Size", ["x"], ["n"]),
        node("Cast", ["n"], ["f"], to=onnx.TensorProto.FLOAT),
        node("Div", ["x", "f"], ["y"]),
    ]
    loaded = load(tmp_path, make_model(nodes, inputs=IMAGE, outputs=SAME))
    assert op_types(loaded) == ["Div"]
    assert constants_of(loaded)["f"] == 144


def test_constant_arithmetic_keeps_the_names_that_survive(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        node("Mul", ["wt", "two"], ["w2"]),
        node("MatMul", ["x", "w2"], ["y"]),
    ]
    constants = {"w": weights(5, 3), "two": np.asarray(2, np.float32), "unused": weights(9)}
    model = make_model(
        nodes,
        inputs={"x": ("float32", [2, 3])},
        outputs={"y": ("float32", [2, 5])},
        constants=constants,
    )
    found = constants_of(load(tmp_path, model))
    assert list(found) == ["w2"]
    np.testing.assert_array_equal(found["w2"], constants["w"].T * 2)


def test_quantized_weights_stay_integers(tmp_path: Path) -> None:
    model = qdq_model()
    loaded = load(tmp_path, model)
    assert [n.SerializeToString() for n in loaded.proto.graph.node] == [
        n.SerializeToString() for n in model.graph.node
    ]
    assert constants_of(loaded)["w_q"].dtype == np.int8


def test_quantize_of_a_constant_is_folded_and_its_dequantize_is_not(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", ["w", "s", "z"], ["wq"]),
        node("DequantizeLinear", ["wq", "s", "z"], ["wf"]),
        node("MatMul", ["x", "wf"], ["y"]),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [2, 3])},
        outputs={"y": ("float32", [2, 5])},
        constants={
            "w": weights(3, 5),
            "s": np.asarray(0.01, np.float32),
            "z": np.asarray(0, np.int8),
        },
    )
    loaded = load(tmp_path, model)
    assert op_types(loaded) == ["DequantizeLinear", "MatMul"]
    assert constants_of(loaded)["wq"].dtype == np.int8


def test_random_numbers_are_not_folded(tmp_path: Path) -> None:
    nodes = [
        node("RandomNormalLike", ["c"], ["r"], seed=1.0),
        node("Add", ["x", "r"], ["y"]),
    ]
    model = make_model(nodes, inputs=IMAGE, outputs=SAME, constants={"c": weights(6)})
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert op_types(loaded) == ["RandomNormalLike", "Add"]
    assert loaded.inventory.unsupported[0].reason == (
        "random numbers cannot be compared with a reference"
    )


def test_folding_goes_on_around_what_onnxruntime_cannot_compute(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["w", "far"], ["bad"]),  # out of range: no number to fold
        node("Neg", ["w"], ["good"]),
        node("Add", ["x", "bad"], ["v"]),
        node("Mul", ["v", "good"], ["y"]),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [6])},
        outputs={"y": ("float32", [6])},
        constants={"w": weights(6), "far": np.asarray([99] * 6)},
    )
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert op_types(loaded) == ["Gather", "Add", "Mul"]
    np.testing.assert_array_equal(constants_of(loaded)["good"], -weights(6))


def test_a_graph_with_an_unknown_operator_is_folded_too(tmp_path: Path) -> None:
    nodes = [
        node("Neg", ["w"], ["n"]),
        node("Mystery", ["x", "n"], ["m"]),
        node("Relu", ["m"], ["y"]),
    ]
    model = make_model(nodes, inputs=IMAGE, outputs=SAME, constants={"w": weights(6)})
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert op_types(loaded) == ["Mystery", "Relu"]
    assert list(constants_of(loaded)) == ["n"]


def test_constant_output(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Neg", ["w"], ["z"])]
    model = make_model(
        nodes,
        inputs=IMAGE,
        outputs={**SAME, "z": ("float32", [6])},
        constants={"w": weights(6)},
    )
    loaded = load(tmp_path, model)
    assert op_types(loaded) == ["Relu"]
    assert [tensor.shape for tensor in loaded.outputs] == [(1, 4, 6, 6), (6,)]


NO_OPS: dict[str, Any] = {
    "identity": node("Identity", ["a"], ["b"]),
    "dropout": node("Dropout", ["a"], ["b"]),
    "dropout, mode given": node("Dropout", ["a", "", "no"], ["b"]),
    "cast to the same type": node("Cast", ["a"], ["b"], to=onnx.TensorProto.FLOAT),
    "transpose in order": node("Transpose", ["a"], ["b"], perm=[0, 1, 2, 3]),
    "reshape to the same shape": node("Reshape", ["a", "shape"], ["b"]),
    "expand to the same shape": node("Expand", ["a", "shape"], ["b"]),
    "tile once": node("Tile", ["a", "once"], ["b"]),
    "sum of one": node("Sum", ["a"], ["b"]),
    "concat of one": node("Concat", ["a"], ["b"], axis=1),
}


@pytest.mark.parametrize("name", NO_OPS)
def test_no_ops_are_removed(tmp_path: Path, name: str) -> None:
    nodes = [node("Relu", ["x"], ["a"]), NO_OPS[name], node("Neg", ["b"], ["y"])]
    constants = {
        "no": np.asarray(False),
        "shape": np.asarray([1, 4, 6, 6]),
        "once": np.ones(4, np.int64),
    }
    loaded = load(tmp_path, make_model(nodes, inputs=IMAGE, outputs=SAME, constants=constants))
    assert op_types(loaded) == ["Relu", "Neg"]


@pytest.mark.parametrize(
    "kept",
    [
        node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 2]),  # the sizes are equal, the order not
        node("Transpose", ["a"], ["b"]),
        node("Cast", ["a"], ["b"], to=onnx.TensorProto.FLOAT16),
        node("Sum", ["a", "a"], ["b"]),
    ],
    ids=lambda kept: str(kept.op_type),
)
def test_near_no_ops_stay(tmp_path: Path, kept: Any) -> None:
    nodes = [node("Relu", ["x"], ["a"]), kept, node("Neg", ["b"], ["y"])]
    element = "float16" if kept.op_type == "Cast" else "float32"
    model = make_model(nodes, inputs=IMAGE, outputs={"y": (element, [None] * 4)})
    assert op_types(load(tmp_path, model)) == ["Relu", kept.op_type, "Neg"]


def test_training_dropout_stays(tmp_path: Path) -> None:
    nodes = [node("Dropout", ["x", "", "yes"], ["b"], seed=1), node("Neg", ["b"], ["y"])]
    model = make_model(nodes, inputs=IMAGE, outputs=SAME, constants={"yes": np.asarray(True)})
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert op_types(loaded) == ["Dropout", "Neg"]


def test_an_output_keeps_its_name(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["a"], name="relu"),
        node("Identity", ["a"], ["b"], name="i1"),
        node("Neg", ["b"], ["z"], name="neg"),
        node("Identity", ["a"], ["y"], name="i2"),
    ]
    outputs = {**SAME, "z": ("float32", [1, 4, 6, 6])}
    loaded = load(tmp_path, make_model(nodes, inputs=IMAGE, outputs=outputs))
    assert [(list(n.input), list(n.output)) for n in loaded.proto.graph.node] == [
        (["x"], ["y"]),
        (["y"], ["z"]),
    ]


def test_an_input_that_is_an_output_keeps_its_identity(tmp_path: Path) -> None:
    nodes = [node("Identity", ["x"], ["y"]), node("Identity", ["x"], ["z"], name="again")]
    outputs = {**SAME, "z": ("float32", [1, 4, 6, 6])}
    loaded = load(tmp_path, make_model(nodes, inputs=IMAGE, outputs=outputs))
    assert op_types(loaded) == ["Identity", "Identity"]


def conditional(condition: Any) -> onnx.ModelProto:
    """y = relu(x) if condition else (x + w) * 2; both branches call their value `inner`."""
    out = [tensor_info("out", "float32", [1, 4, 6, 6])]
    then = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["inner"]), helper.make_node("Neg", ["inner"], ["out"])],
        "then",
        [],
        out,
    )
    other = helper.make_graph(
        [
            helper.make_node("Add", ["x", "w"], ["inner"]),
            helper.make_node("Mul", ["inner", "two"], ["out"]),
        ],
        "else",
        [],
        out,
        [numpy_helper.from_array(np.asarray(2, np.float32), "two")],
    )
    nodes = [
        condition,
        node("If", ["condition"], ["chosen"], then_branch=then, else_branch=other),
        node("Abs", ["chosen"], ["y"]),
    ]
    return make_model(nodes, inputs=IMAGE, outputs=SAME, constants={"w": weights(6)})


@pytest.mark.parametrize(("value", "expected"), [(True, ["Relu", "Neg"]), (False, ["Add", "Mul"])])
def test_a_branch_is_chosen_by_a_constant(tmp_path: Path, value: bool, expected: list[str]) -> None:
    constant = numpy_helper.from_array(np.asarray(value))
    loaded = load(tmp_path, conditional(node("Constant", [], ["condition"], value=constant)))
    assert op_types(loaded) == [*expected, "Abs"]
    assert loaded.inventory.unsupported == ()


def test_a_branch_that_depends_on_data_stays(tmp_path: Path) -> None:
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["condition"], to=onnx.TensorProto.BOOL),
    ]
    model = conditional(nodes[1])
    model.graph.node.insert(0, nodes[0])
    loaded = load(tmp_path, model)
    (blocked,) = loaded.inventory.unsupported
    assert (blocked.op_type, blocked.node) == ("If", "the If")


def test_two_branches_with_the_same_names(tmp_path: Path) -> None:
    constant = numpy_helper.from_array(np.asarray(True))
    model = conditional(node("Constant", [], ["condition"], value=constant))
    again = onnx.NodeProto()
    again.CopyFrom(model.graph.node[1])
    again.name, again.output[0] = "second If", "chosen2"
    model.graph.node.insert(2, again)
    model.graph.node[3].CopyFrom(node("Add", ["chosen", "chosen2"], ["y"]))
    loaded = load(tmp_path, model)
    assert op_types(loaded) == ["Relu", "Neg", "Relu", "Neg", "Add"]
    results = [name for n in loaded.proto.graph.node for name in n.output]
    assert len(set(results)) == len(results)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "group"), [("Conv", 1), ("Conv", 2), ("ConvTranspose", 1), ("ConvTranspose", 2)]
)
def test_batch_norm_is_folded(tmp_path: Path, kind: str, group: int, bias: bool) -> None:
    loaded = load(tmp_path, batch_norm_model(kind=kind, bias=bias, group=group))
    assert op_types(loaded) == [kind, "Relu"]
    linear = loaded.proto.graph.node[0]
    assert (linear.name, list(linear.output)) == ("linear", ["n"])
    assert loaded.inventory.parameter_count == (8 * 4 // group) * 9 + 8


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5, "beta": 2.0}, {"transB": 1}])
def test_batch_norm_is_folded_into_gemm(
    tmp_path: Path, attributes: dict[str, Any], bias: bool
) -> None:
    model = batch_norm_model(kind="Gemm", bias=bias)
    linear = model.graph.node[0]
    linear.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    if "transB" in attributes:
        weight = next(t for t in model.graph.initializer if t.name == "w")
        transposed = np.ascontiguousarray(numpy_helper.to_array(weight).T)
        weight.CopyFrom(numpy_helper.from_array(transposed, "w"))
    assert op_types(load(tmp_path, model)) == ["Gemm", "Relu"]


def test_batch_norm_without_a_linear_node_stays(tmp_path: Path) -> None:
    model = batch_norm_model()
    model.graph.node[0].CopyFrom(node("Sigmoid", ["x"], ["c"]))
    model.graph.input[0].CopyFrom(tensor_info("x", "float32", [2, 8, 4, 4]))
    assert op_types(load(tmp_path, model)) == ["Sigmoid", "BatchNormalization", "Relu"]


def test_batch_norm_stays_where_the_convolution_is_read_elsewhere(tmp_path: Path) -> None:
    model = batch_norm_model()
    model.graph.output.append(tensor_info("c", "float32", [2, 8, 4, 4]))
    assert op_types(load(tmp_path, model)) == ["Conv", "BatchNormalization", "Relu"]


def test_shared_weights_are_not_changed_for_the_other_reader(tmp_path: Path) -> None:
    model = batch_norm_model()
    model.graph.node.append(node("Conv", ["x", "w", "b"], ["other"], name="plain"))
    model.graph.output.append(tensor_info("other", "float32", [2, 8, 4, 4]))
    loaded = load(tmp_path, model)
    assert op_types(loaded) == ["Conv", "Relu", "Conv"]
    assert {"w", "b", "linear/weight", "linear/bias"} == set(constants_of(loaded))


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1), (1,), ()])
def test_scale_and_shift_per_channel_are_folded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = batch_norm_model(bias=False)
    model.graph.node[1].CopyFrom(node("Mul", ["m", "c"], ["k"]))
    model.graph.node.insert(2, node("Add", ["k", "a"], ["n"]))
    for name, seed in (("m", 7), ("a", 8)):
        array = weights(*shape, seed=seed) if shape else np.asarray(0.7, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    assert op_types(load(tmp_path, model)) == ["Conv", "Relu"]


@pytest.mark.parametrize("shape", [(4,), (8, 4, 4), (2, 1, 1, 1), (1, 1, 8, 1, 1)])
def test_other_broadcasts_are_not_folded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = batch_norm_model(bias=False)
    model.graph.node[1].CopyFrom(node("Mul", ["c", "m"], ["n"]))
    model.graph.initializer.append(numpy_helper.from_array(weights(*shape), "m"))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert op_types(load(tmp_path, model)) == ["Conv", "Mul", "Relu"]


def test_float16_stays_float16(tmp_path: Path) -> None:
    model = batch_norm_model()
    for tensor in model.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert op_types(loaded) == ["Conv", "Relu"]  # and no Cast
    assert {array.dtype for array in constants_of(loaded).values()} == {np.dtype(np.float16)}
    (got,), (expected,) = run_onnx(loaded.proto), run_onnx(loaded.source)
    np.testing.assert_allclose(got, expected, atol=4e-3)  # a few float16 steps near 1
