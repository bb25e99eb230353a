"""Products by tensor cores, the instructions computed on this machine's processor.

CUDA C++ as nvcc gets it, compiled for the processor (`tests/c/cuda_on_host.h`), against
onnxruntime. What a GPU does with the instructions is not shown by this.
"""

from __future__ import annotations

import shutil
from ctypes import c_void_p
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.onnx_import.load import load_model
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.verification.comparison import relative_limit
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs as draw_model_inputs
from schedules.cuda.threads import gpu_of
from tests.differential.agreement import assert_close, draw_inputs, run_reference
from tests.gpu_cases import CASES, PRODUCT, GpuCase
from tests.host_cuda import HostCuda
from tests.lowered import loaded
from tests.opencl_program import cuda_program
from tests.opencl_run import run_opencl
from tests.rounded_products import ROUNDED, rounded_reference, to_fp16, to_tf32

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")

SPEC = load_target("cuda-sm80")
# One multiprocessor, so that tiles are the largest: 8 x 8 sums of a thread.
SMALL_GPU = replace(SPEC, gpu=replace(gpu_of(SPEC), sm_count=1))
PRODUCTS = [case for case in CASES if PRODUCT in case.schedules]
# Products of rounded factors are exact in float32, and their sums are as far off as any.
TOLERANCE = 1e-5
QUICK = ("conv-strided", "matmul-shared")


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("spec", [SPEC, SMALL_GPU], ids=["small-tiles", "large-tiles"])
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if case.name in QUICK else pytest.mark.emulator)
        for case in PRODUCTS
    ],
)
def test_product_of_rounded_factors(
    case: GpuCase, spec: TargetSpec, precision: Precision, tmp_path: Path
) -> None:
    made = cuda_program(loaded(case.model), spec, precision)
    assert made.schedules == {"gpu-tensor-product"}
    feed = draw_inputs(case.model)
    (name, got), *_ = run_opencl(made, feed, HostCuda(tmp_path)).items()
    want = rounded_reference(case, feed, ROUNDED[precision])
    assert_close(name, got, want, TOLERANCE)
    exact = run_reference(case.model, feed)[0]
    assert_close(name, got, exact, relative_limit("float32", precision))
    assert not np.allclose(got, exact, rtol=0, atol=TOLERANCE * np.abs(exact).max())


@pytest.mark.emulator
@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("name", ["mlperf_tiny_ic_resnet8_f32", "mlperf_tiny_kws_dscnn_f32"])
def test_model_keeps_to_the_limit_of_verification(
    name: str, precision: Precision, models: Path, tmp_path: Path
) -> None:
    model = load_model(models / f"{name}.onnx")
    inputs = draw_model_inputs(model, 3)
    made = cuda_program(model, SPEC, precision)
    assert "gpu-tensor-product" in made.schedules
    outputs = run_opencl(made, inputs, HostCuda(tmp_path))
    limit = relative_limit("float32", precision)
    for output, expected in Reference(model.source).run(inputs).items():
        assert_close(output, outputs[output], expected, limit)


def test_processor_rounds_as_the_gpu_does(tmp_path: Path) -> None:
    """The conversions of the host's header against NumPy's, ties and subnormals among them."""
    random = np.random.default_rng(0)
    ordinary = random.normal(size=1000) * 10.0 ** random.integers(-9, 6, 1000)
    ties = 1.0 + np.arange(64) * 2.0**-11
    limits = [0.0, -0.0, 65504.0, 65519.9, 65520.0, 2.0**-14, 2.0**-24, 2.0**-25, 2.0**-26, np.inf]
    values = np.concatenate([ordinary, ties, -ties, limits]).astype(np.float32)
    device = HostCuda(tmp_path)
    source = (
        'extern "C" __global__ void k(float *x, float *fp16, float *tf32);\n'
        'extern "C" __global__ void k(float *x, float *fp16, float *tf32) {\n'
        "  fp16[blockIdx.x] = (float)((half)x[blockIdx.x]);\n"
        "  tf32[blockIdx.x] = tunesmith_tf32(x[blockIdx.x]);\n"
        "}\n"
    )
    buffers: list[c_void_p] = [device.buffer(values.nbytes) for _ in range(3)]
    device.write(buffers[0], values)
    device.launch(device.program(source), "k", (len(values), 1, 1), (1, 1, 1), buffers)
    for buffer, rounded in zip(buffers[1:], (to_fp16, to_tf32), strict=True):
        found = np.empty_like(values)
        device.read(buffer, found)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, rounded(values))
