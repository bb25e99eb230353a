"""Every schedule of a GPU, as OpenCL on this machine's processor, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.differential.agreement import assert_close, draw_inputs, run_reference
from tests.gpu_cases import CASES, GpuCase
from tests.lowered import loaded
from tests.opencl_marks import needs_opencl
from tests.opencl_program import opencl_program
from tests.opencl_run import run_opencl

pytestmark = needs_opencl

# float32 sums of up to a few thousand products in another order; the issue allows 1e-4.
TOLERANCE = 1e-5
# Each takes two seconds, most of it PoCL's compiling: one of each schedule is in every run.
QUICK = ("conv-strided", "depthwise", "softmax", "mean-seven", "sigmoid")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if case.name in QUICK else pytest.mark.emulator)
        for case in CASES
    ],
)
def test_kernel_agrees_with_onnxruntime(case: GpuCase) -> None:
    made = opencl_program(loaded(case.model))
    assert made.schedules == case.schedules
    feed = draw_inputs(case.model)
    got, want = run_opencl(made, feed), run_reference(case.model, feed)
    (name,) = got
    assert_close(name, np.asarray(got[name]), want[0], TOLERANCE)
