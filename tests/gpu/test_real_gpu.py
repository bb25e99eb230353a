"""Libraries on a real GPU against onnxruntime. Where there is none, these are skipped."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.library import load
from compiler.pipeline import compile as compile_model
from compiler.target_spec import Precision
from tests.differential.agreement import assert_close, draw_inputs, run_reference
from tests.differential.test_integer_kernels import MODELS, QUANTIZED, drawn, same_bytes
from tests.gpu_cases import CASES, PRODUCT, GpuCase
from tests.gpu_integer_cases import drawn_convolution, drawn_products
from tests.onnx_models import conv_net_model, save
from tests.quantized_models import QdqBuilder, all_cases, every_integer
from tests.rounded_products import ROUNDED, rounded_reference


def _no_gpu() -> str | None:
    """Why there is no GPU of compute capability 8.0 or newer here, None if there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "libcuda.so.1, the NVIDIA driver"
    count, major, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return "an NVIDIA GPU"
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    return None if major.value >= 8 else "an NVIDIA GPU of compute capability 8.0 or newer"


_missing = _no_gpu()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(_missing is not None, reason=f"needs {_missing}"),
]

TOLERANCE = 1e-5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernel_agrees_with_onnxruntime(case: GpuCase, tmp_path: Path) -> None:
    path = save(case.model, tmp_path / "model.onnx")
    artifact = compile_model(path, target="cuda-sm80", output=tmp_path / "out", verify="skip")
    feed = draw_inputs(case.model)
    want = run_reference(case.model, feed)
    with load(artifact.path) as library:
        for _ in range(3):  # started one by one, then as a graph
            (got,) = library.run(feed).values()
            assert_close("y", np.asarray(got), want[0], TOLERANCE)


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize(
    "case", [case for case in CASES if PRODUCT in case.schedules], ids=lambda case: case.name
)
def test_tensor_cores_multiply_rounded_factors(
    case: GpuCase, precision: Precision, tmp_path: Path
) -> None:
    path = save(case.model, tmp_path / "model.onnx")
    artifact = compile_model(
        path, target="cuda-sm80", output=tmp_path / "out", precision=precision, verify="require"
    )
    feed = draw_inputs(case.model)
    want = rounded_reference(case, feed, ROUNDED[precision])
    with load(artifact.path) as library:
        (got,) = library.run(feed).values()
        assert_close("y", np.asarray(got), want, TOLERANCE)


@pytest.mark.parametrize(
    "name", ["mlperf_tiny_kws_dscnn_f32", "mlperf_tiny_ic_resnet8_f32", "mnist_dscnn_f32"]
)
def test_model_passes_verification(name: str, models: Path, tmp_path: Path) -> None:
    artifact = compile_model(
        models / f"{name}.onnx", target="cuda-sm80", output=tmp_path / "out", verify="require"
    )
    assert json.loads(artifact.verification_path.read_text())["status"] == "passed"


def _large_product() -> onnx.ModelProto:
    """Large enough for tensor cores to be chosen."""
    builder = QdqBuilder()
    data = builder.data(6_000, 72, zero=130, dtype="uint8")
    builder.output(builder.node("MatMul", data, builder.weight(72, 512, axis=1)), 0.2)
    return builder.model()


@pytest.mark.parametrize(
    "model",
    [all_cases(), drawn_convolution(2), drawn_products(1), _large_product()],
    ids=["operators", "convolution", "products", "tensor-cores"],
)
def test_integers_are_those_of_the_contract(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = save(model, tmp_path / "integers.onnx")
    sets = [every_integer(model, seed) for seed in range(3)]
    assert same_bytes(path, "cuda-sm80", tmp_path / "out", sets) == []


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_model_gives_the_bytes_of_the_contract(name: str, tmp_path: Path) -> None:
    path = MODELS / name
    assert same_bytes(path, "cuda-sm80", tmp_path / "out", drawn(path, 3)) == []


def test_sessions_side_by_side(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    artifact = compile_model(path, target="cuda-sm80", output=tmp_path / "out", verify="skip")
    with load(artifact.path) as library, library.session() as one, library.session() as other:
        feed = draw_inputs(conv_net_model())
        for _ in range(3):
            for first, second in zip(one.run(feed).values(), other.run(feed).values(), strict=True):
                np.testing.assert_array_equal(first, second)
