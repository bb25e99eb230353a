"""Whole models as a GPU target makes them, in OpenCL, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.onnx_import.load import load_model
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs
from tests.opencl_marks import needs_opencl
from tests.opencl_program import opencl_program
from tests.opencl_run import run_opencl

pytestmark = needs_opencl

TOLERANCE = 1e-4  # of the reference's largest value
MODELS = [
    "mlperf_tiny_kws_dscnn_f32",
    *(
        pytest.param(name, marks=pytest.mark.emulator)
        for name in (
            "mlperf_tiny_ad_autoencoder_f32",
            "mlperf_tiny_ic_resnet8_f32",
            "mlperf_tiny_vww_mobilenetv1_f32",
            "kws_espeak_dscnn_f32",
            "mnist_dscnn_f32",
        )
    ),
]


@pytest.mark.parametrize("name", MODELS)
def test_model_agrees_with_onnxruntime(name: str, models: Path) -> None:
    model = load_model(models / f"{name}.onnx")
    inputs = draw_inputs(model, 3)
    outputs = run_opencl(opencl_program(model), inputs)
    for output, expected in Reference(model.source).run(inputs).items():
        largest = float(np.abs(expected).max())
        np.testing.assert_allclose(outputs[output], expected, atol=TOLERANCE * largest, rtol=0)
