"""Shapes and values of inputs: defaults, `--shape`, `--value`, and their error texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from compiler.errors import ModelError
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from tests.onnx_models import Dim, conv_model, make_model, save


def two_inputs(first: Sequence[Dim], second: Sequence[Dim]) -> Any:
    return make_model(
        [helper.make_node("Add", ["left", "right"], ["y"], name="add")],
        inputs={"left": ("float32", first), "right": ("float32", second)},
        outputs={"y": ("float32", [None] * len(first))},
    )


def load(tmp_path: Path, model: Any, **options: Any) -> Model:
    return load_model(save(model, tmp_path / "m.onnx"), **options)


def refusal(tmp_path: Path, model: Any, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(tmp_path, model, **options)
    return caught.value


def shapes_of(model: Model) -> list[tuple[int, ...]]:
    return [tensor.shape for tensor in model.inputs]


@pytest.mark.parametrize("batch", ["N", None, 0, -1])
def test_batch_is_one_by_default(tmp_path: Path, batch: Dim) -> None:
    model = load(tmp_path, conv_model(batch=batch))
    assert shapes_of(model) == [(1, 3, 8, 8)]
    assert model.outputs[0].shape == (1, 4, 8, 8)


def test_batch_can_be_given(tmp_path: Path) -> None:
    model = load(tmp_path, conv_model(batch="N"), shapes={"x": (5, 3, 8, 8)})
    assert shapes_of(model) == [(5, 3, 8, 8)]
    assert model.outputs[0].shape == (5, 4, 8, 8)


def test_source_and_proto_have_the_fixed_shapes(tmp_path: Path) -> None:
    model = load(tmp_path, conv_model(batch="N"))
    for proto in (model.source, model.proto):
        dims = proto.graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_value for dim in dims] == [1, 3, 8, 8]
        dims = proto.graph.output[0].type.tensor_type.shape.dim
        assert [dim.dim_value for dim in dims] == [1, 4, 8, 8]


def test_one_symbol_has_one_value(tmp_path: Path) -> None:
    model = two_inputs(["N", "length"], ["N", "length"])
    assert shapes_of(load(tmp_path, model, shapes={"right": (2, 7)})) == [(2, 7), (2, 7)]


def test_first_axis_is_no_batch_if_its_symbol_is_a_size_elsewhere(tmp_path: Path) -> None:
    model = two_inputs(["N", "length"], ["length"])
    assert shapes_of(load(tmp_path, model, shapes={"left": (2, 7)})) == [(2, 7), (7,)]
    error = refusal(tmp_path, model)
    assert error.what == (
        "axis 1 (`length`) of input `left`, axis 0 (`length`) of input `right` are unknown"
    )


def test_unknown_dimension(tmp_path: Path) -> None:
    model = conv_model()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_param, dims[2].dim_param = "N", "height"
    dims[3].Clear()
    error = refusal(tmp_path, model)
    assert error.what == (
        "axis 2 (`height`) of input `x`, axis 3 (no symbol) of input `x` are unknown"
    )
    assert error.why.startswith("the compiler needs every size")
    assert error.fix == "give the size you will run with, for example --shape x=1x3x224x224"


def test_the_fix_of_an_unknown_dimension_works(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "height"
    error = refusal(tmp_path, model)
    assert error.fix.endswith("--shape x=1x3x224x8")
    loaded = load(tmp_path, model, shapes={"x": (1, 3, 224, 8)})
    assert loaded.outputs[0].shape == (1, 4, 224, 8)


def test_input_without_rank(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert refusal(tmp_path, model).what == "axis 0 (no symbol) of input `x` is unknown"
    loaded = load(tmp_path, model, shapes={"x": (1, 3, 8, 8)})
    assert loaded.outputs[0].shape == (1, 4, 8, 8)


def test_wrong_rank(tmp_path: Path) -> None:
    error = refusal(tmp_path, conv_model(batch="N"), shapes={"x": (3, 8, 8)})
    assert error.what == "--shape x=3x8x8: rank 3 given, the input has rank 4"
    assert error.why == "the model declares `x` as [N, 3, 8, 8]"
    assert error.fix == "write --shape x=1x3x8x8"


def test_contradiction_with_the_file(tmp_path: Path) -> None:
    error = refusal(tmp_path, conv_model(), shapes={"x": (1, 4, 8, 8)})
    assert error.what == "--shape x=1x4x8x8: axis 1 is 4, the model needs 3"
    assert error.fix == "make axis 1 of `x` 3"


def test_contradiction_between_two_shapes(tmp_path: Path) -> None:
    model = two_inputs(["N", 4], ["N", 4])
    error = refusal(tmp_path, model, shapes={"left": (2, 4), "right": (3, 4)})
    assert error.what == "--shape right=3x4: axis 0 is 3, the model needs 2"
    assert error.why.endswith("`N` is already 2")


@pytest.mark.parametrize("size", [0, -3])
def test_not_positive(tmp_path: Path, size: int) -> None:
    error = refusal(tmp_path, conv_model(), shapes={"x": (size, 3, 8, 8)})
    assert error.what == f"--shape x={size}x3x8x8: a dimension is not positive"
    assert error.fix == "write for example --shape x=1x3x8x8"


def test_unknown_input_of_shape(tmp_path: Path) -> None:
    error = refusal(tmp_path, two_inputs([1], [1]), shapes={"rihgt": (1,)})
    assert error.what == "--shape rihgt: the model has no input `rihgt`"
    assert error.fix == "did you mean `right`?"


def test_unknown_input_far_from_all(tmp_path: Path) -> None:
    error = refusal(tmp_path, two_inputs([1], [1]), shapes={"qqq": (1,)})
    assert error.fix == "use one of: `left`, `right`"


def test_shapes_that_do_not_fit_the_graph(tmp_path: Path) -> None:
    model = two_inputs(["a", "n"], ["b", "m"])
    error = refusal(tmp_path, model, shapes={"left": (1, 3), "right": (1, 4)})
    assert error.what == "the shapes of the model do not fit together"
    assert "add" in error.why
    assert "--shape" in error.fix


def scaled(dtype: str = "float32", shape: Sequence[Dim] = ()) -> Any:
    """y = x * cast(factor)."""
    return make_model(
        [
            helper.make_node("Cast", ["factor"], ["f"], name="cast", to=1),
            helper.make_node("Mul", ["x", "f"], ["y"], name="scale"),
        ],
        inputs={"x": ("float32", [2, 3]), "factor": (dtype, shape)},
        outputs={"y": ("float32", [2, 3])},
    )


@pytest.mark.parametrize(
    ("dtype", "shape", "number", "expected"),
    [
        ("int64", (), 16000, 16000),
        ("float32", (1,), 0.5, 0.5),
        ("float16", ("n",), 2, 2),
        ("bool", (), True, True),
        ("uint8", (1, 1), 255, 255),
    ],
)
def test_value_becomes_a_constant_of_the_inputs_type(
    tmp_path: Path, dtype: str, shape: Sequence[Dim], number: float, expected: float
) -> None:
    model = load(tmp_path, scaled(dtype, shape), values={"factor": number})
    assert [tensor.name for tensor in model.inputs] == ["x"]
    (pinned,) = (t for t in model.source.graph.initializer if t.name == "factor")
    array = numpy_helper.to_array(pinned)
    assert array.dtype == np.dtype(dtype)
    assert array.shape == (1,) * len(shape)
    assert array.reshape(()) == expected
    assert [node.name for node in model.proto.graph.node] == ["scale"]


def test_unknown_input_of_value(tmp_path: Path) -> None:
    error = refusal(tmp_path, scaled(), values={"facter": 1})
    assert error.what == "--value facter: the model has no input `facter`"
    assert error.fix == "did you mean `factor`?"


def test_value_for_a_tensor(tmp_path: Path) -> None:
    error = refusal(tmp_path, scaled(), values={"x": 1})
    assert error.what == "--value x: the input has more than one element"
    assert error.why.startswith("its shape is [2, 3]")


@pytest.mark.parametrize(
    ("dtype", "number"), [("int64", 0.5), ("uint8", 256), ("uint8", -1), ("bool", 2)]
)
def test_value_that_the_type_cannot_hold(tmp_path: Path, dtype: str, number: float) -> None:
    error = refusal(tmp_path, scaled(dtype), values={"factor": number})
    assert error.what == f"--value factor={number}: not a value of type {dtype}"
    assert error.fix == f"give a number that {dtype} can hold exactly"
