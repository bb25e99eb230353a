"""Inputs are drawn from what the graph says; outputs that never change are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.errors import InputError
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.verification.exercise import unexercised
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs, read_inputs
from compiler.verification_trial import SEEDS, choose_trial
from tests.onnx_models import dense_model, make_model, qdq_model, save, weights


def loaded(proto: onnx.ModelProto, folder: Path) -> Model:
    return load_model(save(proto, folder / "model.onnx"))


def embedding_model() -> onnx.ModelProto:
    """Ids into a table of 7 rows, a mask, 20 numbers one-hot encoded by comparison."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="embed"),
        helper.make_node("Cast", ["mask"], ["mf"], name="to_float", to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "mf"], ["hidden"], name="hide"),
        helper.make_node("Unsqueeze", ["hidden", "last"], ["h2"], name="widen"),
        helper.make_node("Unsqueeze", ["bytes", "last"], ["b2"], name="widen_bytes"),
        helper.make_node("Equal", ["b2", "numbers"], ["eq"], name="one_hot"),
        helper.make_node("Cast", ["eq"], ["hot"], name="hot_float", to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["e", "h2"], ["eh"], name="masked"),
        helper.make_node("Concat", ["eh", "hot"], ["y"], name="join", axis=-1),
    ]
    return make_model(
        nodes,
        inputs={
            "ids": ("int64", [1, 50]),
            "mask": ("int64", [1, 50]),
            "bytes": ("int32", [1, 50]),
        },
        outputs={"y": ("float32", [1, 50, 24])},
        constants={
            "table": weights(7, 4),
            "one": np.asarray(1, np.float32),
            "last": np.asarray([-1], np.int64),
            "numbers": np.arange(20, dtype=np.int32),
        },
    )


def test_indices_masks_and_classes(tmp_path: Path) -> None:
    drawn = draw_inputs(loaded(embedding_model(), tmp_path), seed=0)
    assert (drawn["ids"].min(), drawn["ids"].max()) == (0, 6)
    assert np.unique(drawn["mask"]).tolist() == [1]
    assert (drawn["bytes"].min() >= 0, drawn["bytes"].max()) == (True, 19)
    assert drawn["bytes"].dtype == np.int32


def test_the_first_quantizer_gives_the_range(tmp_path: Path) -> None:
    """Scale 0.05, zero point -3: int8 stands for -6.25 .. 6.5."""
    drawn = draw_inputs(loaded(qdq_model(), tmp_path), seed=0)["x"]
    assert -6.25 <= drawn.min() < -6.0
    assert 6.2 < drawn.max() <= 6.5


def test_quantized_inputs_cover_their_dtype(tmp_path: Path) -> None:
    drawn = draw_inputs(loaded(qdq_model(integer_ports=True), tmp_path), seed=0)["x"]
    assert drawn.dtype == np.int8
    assert drawn.min() < -110
    assert drawn.max() > 110


def test_floats_are_standard_normal_and_depend_on_the_seed_only(tmp_path: Path) -> None:
    model = loaded(dense_model(m=64, k=64), tmp_path)
    first, again, other = (draw_inputs(model, seed)["x"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() == pytest.approx(1.0, abs=0.05)


def test_a_constant_output_is_not_exercised(tmp_path: Path) -> None:
    model = loaded(softmax_model(width=1), tmp_path)
    reference = Reference(model.source)
    runs = [reference.run(draw_inputs(model, seed)) for seed in range(3)]
    assert unexercised(model, runs) == {"y": "is the same (1, ...) whatever the input"}


def test_one_value_that_changes_is_exercised(tmp_path: Path) -> None:
    model = loaded(dense_model(m=1, n=1), tmp_path)
    reference = Reference(model.source)
    runs = [reference.run(draw_inputs(model, seed)) for seed in range(3)]
    assert unexercised(model, runs) == {}
    assert unexercised(model, runs[:1]) == {}  # one value alone proves nothing


def test_one_given_input_whose_output_is_all_equal(tmp_path: Path) -> None:
    model = loaded(dense_model(), tmp_path)
    assert "y" in unexercised(model, [{"y": np.full((4, 16), 2.5, np.float32)}])


def test_saturated_probabilities_are_not_exercised(tmp_path: Path) -> None:
    model = loaded(softmax_model(width=3), tmp_path)
    hot = [np.eye(3, dtype=np.float32)[[i]] for i in (0, 1)]
    reason = {"y": "stands at the ends of its range everywhere"}
    assert unexercised(model, [{"y": array} for array in hot]) == reason


def test_saturated_integers_are_not_exercised(tmp_path: Path) -> None:
    model = loaded(qdq_model(integer_ports=True), tmp_path)
    ends = np.asarray([[-128, 127]], np.int8)
    reason = {"y": "stands at the ends of its range everywhere"}
    assert unexercised(model, [{"y": ends}, {"y": ends[:, ::-1]}]) == reason


def test_nothing_finite_is_not_exercised(tmp_path: Path) -> None:
    model = loaded(dense_model(), tmp_path)
    assert unexercised(model, [{"y": np.full(4, np.nan)}]) == {"y": "holds no finite value"}


def test_an_output_that_no_input_reaches_needs_no_exercise(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"], name="relu"),
        helper.make_node("Relu", ["c"], ["fixed"], name="fixed_relu"),
    ]
    kind = ("float32", [4])
    proto = make_model(
        nodes, inputs={"x": kind}, outputs={"y": kind, "fixed": kind}, constants={"c": weights(4)}
    )
    model = loaded(proto, tmp_path)
    reference = Reference(model.source)
    assert unexercised(model, [reference.run(draw_inputs(model, s)) for s in range(2)]) == {}


def softmax_model(width: int) -> onnx.ModelProto:
    kind = ("float32", [1, width])
    node = helper.make_node("Softmax", ["x"], ["y"], name="softmax", axis=-1)
    return make_model([node], inputs={"x": kind}, outputs={"y": kind})


def test_a_sigmoid_that_ends_in_tiny_numbers_is_driven_harder(tmp_path: Path) -> None:
    """sigmoid(x - 60) on plain noise is 1e-26: its relative error is the exponent's rounding."""
    nodes = [
        helper.make_node("Sub", ["x", "shift"], ["s"], name="shift"),
        helper.make_node("Sigmoid", ["s"], ["y"], name="sigmoid"),
    ]
    kind = ("float32", [1, 500])
    constants = {"shift": np.asarray(60, np.float32)}
    proto = make_model(nodes, inputs={"x": kind}, outputs={"y": kind}, constants=constants)
    trial = choose_trial(loaded(proto, tmp_path), None, SEEDS)
    assert trial.source in ("drawn, scaled by 10", "drawn, scaled by 100")
    assert trial.expected[0]["y"].max() > 1e-3


def test_plain_noise_is_taken_where_it_will_do(tmp_path: Path) -> None:
    trial = choose_trial(loaded(dense_model(), tmp_path), None, SEEDS)
    assert (trial.source, trial.unexercised, len(trial.inputs)) == ("drawn", {}, 3)
    assert 0.0 <= trial.uncertainty < 1e-5


@pytest.mark.parametrize(
    ("arrays", "what", "why"),
    [
        ({}, "input 'x' is missing", "the model's inputs are: x"),
        (
            {"x": np.zeros((4, 8), np.float32), "z": np.zeros(1)},
            "input 'z' is not an input of the model",
            "the model's inputs are: x",
        ),
        (
            {"x": np.zeros((4, 9), np.float32)},
            "input 'x' is float32[4, 9]",
            "the model takes float32[4, 8]",
        ),
        ({"x": np.zeros((4, 8))}, "input 'x' is float64[4, 8]", "the model takes float32[4, 8]"),
    ],
)
def test_given_inputs_are_checked(
    arrays: dict[str, np.ndarray], what: str, why: str, tmp_path: Path
) -> None:
    model = loaded(dense_model(), tmp_path)
    path = tmp_path / "in.npz"
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    with pytest.raises(InputError) as caught:
        read_inputs(path, model)
    assert (caught.value.what, caught.value.why) == (what, why)
