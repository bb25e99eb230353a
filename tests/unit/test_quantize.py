"""The whole way: from a float file to an int8 file and its report, and every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compiler
from compiler.errors import CompilerError, InputError
from compiler.quantization.quantize import quantize
from compiler.quantization.ranges import QuantizationError
from compiler.quantization.report import QuantizationReport
from tests.onnx_models import conv_net_model, make_model, qdq_model, run_onnx, save, weights
from tests.quantization_models import samples, uneven_model

IMAGES = {"x": np.concatenate([s["x"] for s in samples(1, 3, 16, 16, count=24)])}


def made(
    folder: Path, model: onnx.ModelProto, data: Mapping[str, np.ndarray], **options: Any
) -> QuantizationReport:
    path = save(model, folder / "float.onnx")
    return quantize(path, calibration=data, output=folder / "int8.onnx", **options)


def loud_layer_model() -> onnx.ModelProto:
    """Return conv -> conv -> dense: x [1, 3, 8, 8] -> y [1, 4].

    The first layer reads numbers of which a few are a thousand times as large as what decides.
    """
    factors = np.array([1000.0, 1.0, 1.0], np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w0"], ["a"], name="loud"),
        onnx.helper.make_node("Relu", ["a"], ["r"], name="relu"),
        onnx.helper.make_node("Conv", ["r", "w1"], ["b"], name="quiet"),
        onnx.helper.make_node("GlobalAveragePool", ["b"], ["p"], name="pool"),
        onnx.helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        onnx.helper.make_node("Gemm", ["f", "w2"], ["y"], name="dense"),
    ]
    return make_model(
        nodes,
        inputs={"x": ("float32", [1, 3, 8, 8])},
        outputs={"y": ("float32", [1, 4])},
        constants={
            "w0": weights(8, 3, 1, 1) / factors[None, :, None, None] * np.float32(0.9),
            "w1": weights(8, 8, 3, 3, seed=1),
            "w2": weights(8, 4, seed=2),
        },
    )


def loud_images(count: int = 40) -> dict[str, np.ndarray]:
    images = np.concatenate([s["x"] for s in samples(1, 3, 8, 8, count=count)])
    images[:, 0] *= 1000
    return {"x": images}


def test_file_computes_nearly_the_same_in_a_quarter_of_the_bytes(tmp_path: Path) -> None:
    report = made(tmp_path, conv_net_model(), IMAGES, max_drop=0.2)
    model = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(model, full_check=True)
    exact, got = (run_onnx(m, {"x": IMAGES["x"][:1]})[0] for m in (conv_net_model(), model))
    assert np.abs(exact - got).max() < 0.02
    assert report.integer_share == 1.0
    assert report.judged_by == "agreement"
    assert (report.calibration_samples, report.judged_samples) == (12, 12)
    assert report.score.agreement >= 0.8
    assert [layer.name for layer in report.layers][:2] == ["stem", "depthwise"]
    assert all(layer.integer and layer.sqnr_db > 20 for layer in report.layers)
    assert all(layer.alone_sqnr_db is None for layer in report.layers)  # no search was needed


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        made(folder, uneven_model(), {"x": np.concatenate([s["x"] for s in samples(1, 4, 8, 8)])})
        files.append((folder / "int8.onnx").read_bytes())
    assert files[0] == files[1]


def test_old_opset_is_raised(tmp_path: Path) -> None:
    made(tmp_path, conv_net_model(opset=11), IMAGES, max_drop=0.2)
    model = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 13


def test_costly_layer_stays_in_float_and_is_named(tmp_path: Path) -> None:
    everything = made(tmp_path, loud_layer_model(), loud_images(), max_drop=1.0)
    report = made(tmp_path, loud_layer_model(), loud_images(), max_drop=0.05)
    assert everything.score.agreement < 0.9
    assert report.score.agreement >= 0.95
    assert report.all_integer_score == everything.score
    in_float = [layer for layer in report.layers if not layer.integer]
    assert [layer.name for layer in in_float] == ["loud"]
    assert (
        in_float[0].reason == f"number 1 of {len(report.layers)} by the error that it makes alone"
    )
    assert 0.5 < report.integer_share < 1
    alone = {layer.name: layer.alone_sqnr_db or 0 for layer in report.layers}
    assert min(alone, key=lambda name: alone[name]) == "loud"


def test_labels_are_what_limits_are_held_to(tmp_path: Path) -> None:
    exact = [run_onnx(loud_layer_model(), {"x": x[None]})[0] for x in loud_images()["x"]]
    labels = np.array([int(y.argmax()) for y in exact])
    labels[::4] = (labels[::4] + 1) % 4
    report = made(tmp_path, loud_layer_model(), loud_images(), labels=labels, max_drop=0.05)
    assert report.judged_by == "labels"
    assert report.float_score.accuracy == 1.0  # every fourth lies among the calibration samples
    assert report.score.accuracy is not None
    assert report.score.accuracy >= 0.95


def test_answers_are_compared_where_a_function_gives_them(tmp_path: Path) -> None:
    report = made(
        tmp_path, conv_net_model(), IMAGES, answer=lambda outputs: "abc"[outputs["y"].argmax() // 4]
    )
    assert report.score.agreement == 1.0


def test_closeness_where_there_are_no_classes(tmp_path: Path) -> None:
    model = uneven_model()
    del model.graph.node[-1]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("p", 1, [1, 5, 1, 1]))
    data = {"x": np.concatenate([s["x"] for s in samples(1, 4, 8, 8)])}
    report = made(tmp_path, model, data, max_drop=0.1)
    assert report.judged_by == "closeness"
    assert 0.9 <= report.score.agreement < 1.0


def test_validation_samples_are_judged_and_all_others_calibrated(tmp_path: Path) -> None:
    report = made(
        tmp_path, conv_net_model(), IMAGES, validation={"x": IMAGES["x"][:5]}, max_drop=0.5
    )
    assert (report.calibration_samples, report.judged_samples) == (24, 5)


@pytest.mark.parametrize(
    ("options", "kind", "what"),
    [
        ({"max_drop": 0.0, "min_int8": 1.0}, QuantizationError, "a drop of at most 0.00% leaves"),
        ({"labels": np.arange(40)}, InputError, "labels go from"),
        ({"labels": np.array(["a"] * 40)}, InputError, "labels are 20 of"),
        ({"method": "median"}, InputError, "no method 'median'"),
        ({"answer": "absent:f"}, InputError, "no such function"),
        ({"answer": lambda outputs: outputs["z"]}, InputError, "stopped with KeyError"),
    ],
)
def test_refusals_write_nothing(
    tmp_path: Path, options: dict[str, Any], kind: type[CompilerError], what: str
) -> None:
    with pytest.raises(kind, match=what):
        made(tmp_path, loud_layer_model(), loud_images(), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["float.onnx"]


def test_model_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="quantized already"):
        made(tmp_path, qdq_model(), {"x": np.ones((2, 3, 8, 8), np.float32)})


def test_model_without_layers_is_refused(tmp_path: Path) -> None:
    model = make_model(
        [onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")],
        inputs={"x": ("float32", [1, 4])},
        outputs={"y": ("float32", [1, 4])},
    )
    with pytest.raises(QuantizationError, match="no layer to quantize"):
        made(tmp_path, model, {"x": np.eye(4, dtype=np.float32)})


def test_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    model = conv_net_model()
    model.graph.node[-1].op_type = "Sqrt"
    del model.graph.node[-1].attribute[:]
    with pytest.raises(QuantizationError, match="not finite on a sample"):
        made(tmp_path, model, IMAGES)


def test_output_may_not_be_the_model(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="is the model itself"):
        quantize(path, calibration=IMAGES, output=path)


def test_output_is_a_file_in_a_folder_that_is_there(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "m.onnx")
    for output in (tmp_path, tmp_path / "absent" / "int8.onnx"):
        with pytest.raises(InputError, match="cannot be written"):
            quantize(path, calibration=IMAGES, output=output)


def test_labels_need_classes_or_an_answer(tmp_path: Path) -> None:
    model = uneven_model()
    del model.graph.node[-1]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("p", 1, [1, 5, 1, 1]))
    data = {"x": np.concatenate([s["x"] for s in samples(1, 4, 8, 8)])}
    with pytest.raises(InputError, match="labels cannot be compared"):
        made(tmp_path, model, data, labels=np.arange(12))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "data"),
    [
        ("mnist_dscnn_f32", "input", "mnist_test.npz"),
        ("kws_espeak_dscnn_f32", "mfcc", "kws_test.npz"),
    ],
)
def test_trained_networks_lose_at_most_three_in_a_thousand(
    models: Path, tmp_path: Path, name: str, value: str, data: str
) -> None:
    arrays = np.load(models / data)
    report = compiler.quantize(
        models / f"{name}.onnx",
        calibration={value: arrays["calib"]},
        validation={value: arrays["x"], "labels": arrays["y"]},
        output=tmp_path / "int8.onnx",
        max_drop=0.003,
    )
    assert report.score.accuracy is not None
    assert report.float_score.accuracy is not None
    assert report.score.accuracy >= report.float_score.accuracy - 0.003
    assert report.integer_share == 1.0
    assert report.quantized_bytes < 0.55 * report.float_bytes  # the rest: names and scales
