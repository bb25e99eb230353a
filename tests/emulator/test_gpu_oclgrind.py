"""Every schedule of a GPU in Oclgrind: no race between threads, no access outside a buffer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.program import KernelCall, Launch, Port, Program, ScheduleOutcome, Value, ValueKind
from tests.differential.agreement import assert_close, draw_inputs, run_reference
from tests.gpu_cases import CASES, GpuCase
from tests.gpu_integer_cases import SMALL_GPU, SPEC, one_convolution
from tests.integer_reference import IntegerReference
from tests.lowered import loaded
from tests.oclgrind import run_in_oclgrind
from tests.opencl_marks import needs_oclgrind
from tests.opencl_program import opencl_program
from tests.opencl_run import OpenClKernel, OpenClProgram
from tests.quantized_models import every_integer
from tests.rounded_products import rounded_reference, to_tf32

pytestmark = [needs_oclgrind, pytest.mark.emulator]

TOLERANCE = 1e-5  # as in tests/differential/test_gpu_kernels.py


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_race_and_no_access_out_of_bounds(case: GpuCase, tmp_path: Path) -> None:
    made = opencl_program(loaded(case.model))
    feed = draw_inputs(case.model)
    outputs, findings = run_in_oclgrind(made, feed, tmp_path)
    assert findings == ""
    want = run_reference(case.model, feed)
    (name,) = outputs
    assert_close(name, outputs[name], want[0], TOLERANCE)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name in ("conv-strided", "matmul-batched")],
    ids=lambda case: case.name,
)
def test_products_of_warps_have_no_race(case: GpuCase, tmp_path: Path) -> None:
    """The schedule for tensor cores, each thread multiplying for itself instead of its warp."""
    made = opencl_program(loaded(case.model), precision="tf32")
    assert made.schedules == {"gpu-tensor-product"}
    feed = draw_inputs(case.model)
    outputs, findings = run_in_oclgrind(made, feed, tmp_path)
    assert findings == ""
    (name,) = outputs
    assert_close(name, outputs[name], rounded_reference(case, feed, to_tf32), TOLERANCE)


INTEGERS = {
    "dot": (SPEC, one_convolution(8, 20, 5)),
    "dot-bytes-apart": (SPEC, one_convolution(3, 20, 5)),
    "tensor-cores": (SMALL_GPU, one_convolution(8, 33, 6)),
    "depthwise": (SPEC, one_convolution(8, 8, 5, group=8)),
}


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_have_no_race(kind: str, tmp_path: Path) -> None:
    """Each thread multiplying for itself instead of by the instructions."""
    spec, model = INTEGERS[kind]
    made = opencl_program(loaded(model), spec)
    feed = every_integer(model, 0)
    outputs, findings = run_in_oclgrind(made, feed, tmp_path)
    assert findings == ""
    for name, expected in IntegerReference(model).run(feed).items():
        np.testing.assert_array_equal(outputs[name], expected)


def _one_kernel(source: str) -> OpenClProgram:
    """x[16] -> y[16] through the kernel ``k``, 16 threads."""
    values = tuple(
        Value(id=i, kind=kind, dtype="float32", shape=(16,), storage=i)
        for i, kind in enumerate((ValueKind.INPUT, ValueKind.OUTPUT))
    )
    call = KernelCall(kernel="k", inputs=(0,), outputs=(1,), operator="k", onnx_nodes=())
    program = Program(
        values=values,
        constants={},
        calls=(call,),
        copies=(),
        inputs=(Port(name="x", value=0),),
        outputs=(Port(name="y", value=1),),
    )
    launch = Launch(symbol="k", grid=(1, 1, 1), block=(16, 1, 1), arguments=(0, 1))
    outcome = ScheduleOutcome(source="rule", name="test")
    kernel = OpenClKernel(source=source, launches=(launch,), scratch_bytes=(), outcome=outcome)
    return OpenClProgram(program=program, kernels={"k": kernel})


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            "__local float s[16]; s[get_local_id(0)] = x[get_local_id(0)];"
            "y[get_local_id(0)] = s[15 - get_local_id(0)];",
            "race",
        ),
        ("y[get_local_id(0) + 1] = x[get_local_id(0)];", "Invalid write"),
        ("y[get_local_id(0)] = x[get_local_id(0) * 2];", "Invalid read"),
    ],
    ids=["no-barrier", "write-outside", "read-outside"],
)
def test_what_is_wrong_is_found(body: str, complaint: str, tmp_path: Path) -> None:
    source = f"__kernel void k(__global float *x, __global float *y) {{ {body} }}"
    _, findings = run_in_oclgrind(_one_kernel(source), {"x": np.ones(16, np.float32)}, tmp_path)
    assert complaint in findings
