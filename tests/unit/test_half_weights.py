"""Weights in 16 bits: which ones, what becomes of them, and that widening them is exact."""

from __future__ import annotations

import ctypes
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tvm import te, tirx

from compiler.code_generation import generate_code
from compiler.errors import TargetError
from compiler.kernels.build import build_kernel
from compiler.kernels.c_expressions import Expressions
from compiler.kernels.c_halves import WIDENED, WIDENED_HIGH, WIDENED_LOW, Parities
from compiler.onnx_import.half_weights import reason_against, with_half_weights
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.pipeline import compile as compile_model
from compiler.program import Program, ScheduleOutcome
from compiler.scheduling import schedule_kernel
from compiler.target_spec import load_target
from compiler.toolchain import find_toolchain, run_tool
from compiler.tuning.store import NO_RECORDS
from compiler.tvm_target import tvm_target, widens_halves
from tests.onnx_models import conv_net_model, make_model, qdq_model, save, weights

# Every finite half, both zeros and those without an implicit bit included.
FINITE = np.arange(1 << 16, dtype=np.uint16)
FINITE = FINITE[np.isfinite(FINITE.view(np.float16))]


def loaded(model: onnx.ModelProto, folder: Path) -> Model:
    return with_half_weights(load_model(save(model, folder / "net.onnx")))


def program_of(model: Model, target: str = "host") -> Program:
    code = generate_code(
        model,
        load_target(target),
        NO_RECORDS,
        exact=False,
        precision="float32",
        jobs=1,
        dump_stages=None,
        report=lambda _: None,
    )
    return code.program


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ([[1.0, -2.5], [3e-3, 0.0]], ""),
        ([[1.0, 7e4], [0.0, 0.0]], "its largest number is 70000, a half holds 65,504 at most"),
        ([[1.0, np.inf], [0.0, 0.0]], "it has infinities or NaN"),
        ([[1.0, np.nan], [0.0, 0.0]], "it has infinities or NaN"),
        ([[3.1e-8, 0.0], [0.0, 0.0]], "its numbers are too small: as halves they are off by"),
        ([[1.0, 3.1e-8], [0.0, 0.0]], ""),  # beside 1 it does not matter
        ([[0.0, 0.0], [0.0, 0.0]], ""),
    ],
)
def test_reasons_to_stay_float(numbers: list[list[float]], reason: str) -> None:
    found = reason_against(np.array(numbers, np.float32))
    assert found.startswith(reason) if reason else found == ""


def test_weights_are_rounded_biases_and_integers_are_not(tmp_path: Path) -> None:
    model = conv_net_model()
    half = loaded(model, tmp_path)
    before = {
        t.name: numpy_helper.to_array(t)
        for t in load_model(tmp_path / "net.onnx").proto.graph.initializer
    }
    seen = set()
    for tensor in half.proto.graph.initializer:
        array, was = numpy_helper.to_array(tensor), before[tensor.name]
        if sum(extent > 1 for extent in array.shape) > 1 and was.dtype == np.float32:
            seen.add(tensor.name)
            np.testing.assert_array_equal(array, was.astype(np.float16).astype(np.float32))
            assert not np.array_equal(array, was)
        else:
            np.testing.assert_array_equal(array, was)
    assert len(seen) > 1
    assert half.source is half.proto
    assert half.unrounded is not None
    assert with_half_weights(half) is half

    quantized = loaded(qdq_model(), tmp_path)
    for tensor in quantized.proto.graph.initializer:
        assert tensor.data_type != onnx.TensorProto.FLOAT or sum(d > 1 for d in tensor.dims) < 2


def test_weight_that_does_not_fit_is_named_and_stays(tmp_path: Path) -> None:
    large, small = weights(16, 16, seed=1), weights(16, 16, seed=2)
    large[3, 5] = 1e6
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "small"], ["y"], name="second"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", (4, 16))},
        outputs={"y": ("float32", (4, 16))},
        constants={"large": large, "small": small},
    )
    path = save(model, tmp_path / "net.onnx")
    artifact = compile_model(path, target="host", output=tmp_path / "out", weights="fp16")
    (named,) = artifact.report()["float_weights"]
    assert named["name"] == "large"
    assert "its largest number is 1e+06" in named["reason"]
    values = artifact.report()["values"]
    kinds = [value["dtype"] for value in values if value["kind"] == "constant"]
    assert kinds == ["float32", "float16"]


def test_packed_weights_are_halves_and_exact(tmp_path: Path) -> None:
    """What packing moves stays equal; Winograd, which computes other numbers, is not used."""
    model = load_model(save(conv_net_model(size=32), tmp_path / "net.onnx"))
    plain, half = program_of(model), program_of(with_half_weights(model))
    matrices = [a for a in half.constants.values() if sum(e > 1 for e in a.shape) > 2]
    assert {str(array.dtype) for array in matrices if array.size >= 64} == {"float16"}
    assert not any("winograd" in call.kernel for call in half.calls)
    rounded = {np.sort(a.astype(np.float16), axis=None).tobytes() for a in plain.constants.values()}
    assert sum(a.dtype == np.float16 for a in half.constants.values()) >= 3
    assert {np.sort(a, axis=None).tobytes() for a in matrices if a.dtype == np.float16} <= rounded


def test_library_is_checked_against_rounded_weights_and_says_how_far_they_are(
    tmp_path: Path,
) -> None:
    path = save(conv_net_model(size=32), tmp_path / "net.onnx")
    made = {
        form: compile_model(path, target="host", output=tmp_path / form, weights=form)
        for form in ("model", "fp16")
    }
    totals = {form: artifact.report()["totals"]["weight_bytes"] for form, artifact in made.items()}
    assert totals["fp16"] < 0.6 * totals["model"]
    said = {form: json.loads(a.verification_path.read_text()) for form, a in made.items()}
    assert said["fp16"]["status"] == "passed"
    assert said["fp16"]["float32_limit"] == 1e-4  # no wider: the reference has the same weights
    assert said["fp16"]["weights"] == "fp16"
    (difference,) = said["fp16"]["rounding_differences"].values()
    (error,) = (output["max_relative"] for output in said["fp16"]["outputs"])
    assert 1e-2 > difference > 1e-5 > error
    assert said["model"]["rounding_differences"] == {}


def test_gpu_is_refused(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    with pytest.raises(TargetError) as error:
        compile_model(path, target="cuda-sm80", output=tmp_path / "out", weights="fp16")
    assert str(error.value) == (
        "target cuda-sm80 does not read weights in 16 bits (--weights fp16)\n"
        "  why: they are for CPUs and microcontrollers; a GPU has memory enough\n"
        "  fix: leave out --weights; --precision fp16 multiplies in 16 bits"
    )


def test_which_processors_widen() -> None:
    able = {"x86-64-v3": True, "cortex-a53": True, "cortex-m55": True, "rv64gc": False}
    for name, expected in able.items():
        assert widens_halves(tvm_target(load_target(name))) == expected


@pytest.mark.parametrize("converts", [True, False])
def test_llvm_widens_every_half_exactly(converts: bool, tmp_path: Path) -> None:
    spec = load_target("host")
    if not converts:  # as on RISC-V, with the instructions of every x86
        spec = replace(spec, llvm=replace(spec.llvm, cpu="x86-64-v2", features=()))
    target = tvm_target(spec)
    assert widens_halves(target) == converts
    source = te.placeholder((len(FINITE),), "float16", name="source")
    wide = te.compute((len(FINITE),), lambda i: source[i].astype("float32"))
    scheduled = schedule_kernel("widen", te.create_prim_func([source, wide]), 1, spec)
    outcome = ScheduleOutcome(source="fallback", name="test")
    kernel = build_kernel(
        scheduled.func, name="widen", input_count=1, outcome=outcome, target=target
    )
    (tmp_path / "kernel.o").write_bytes(kernel.object_code)
    run_tool((*find_toolchain().cc, "-shared", "-o", "k.so", "kernel.o"), folder=tmp_path)
    got = np.zeros(len(FINITE), np.float32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (FINITE, got)]
    ctypes.CDLL(str(tmp_path / "k.so"))["widen"](*pointers, 0, kernel.phases[0].extent)
    expected = FINITE.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_c_widens_every_half_exactly(tmp_path: Path) -> None:
    loop = "for (int i = 0; i < n; i++) { w[i] = ts_widened(h[i]); }"
    loop += "for (int i = 0; i + 1 < n; i += 2) {"
    loop += " p[i] = ts_widened_low(h + i); p[i + 1] = ts_widened_high(h + i); }"
    function = f"void all(const uint16_t *h, float *w, float *p, int n) {{ {loop} }}"
    texts = ["#include <stdint.h>", "#include <string.h>", WIDENED, WIDENED_LOW, WIDENED_HIGH]
    (tmp_path / "w.c").write_text("\n".join([*texts, function]))
    command = (*find_toolchain().cc, "-std=c99", "-O2", "-shared", "-fPIC", "w.c", "-o", "w.so")
    run_tool(command, folder=tmp_path)
    one_by_one, in_pairs = (np.zeros(len(FINITE), np.float32) for _ in range(2))
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (FINITE, one_by_one, in_pairs)]
    ctypes.CDLL(str(tmp_path / "w.so"))["all"](*pointers, len(FINITE))
    expected = FINITE.view(np.float16).astype(np.float32)
    for got in (one_by_one, in_pairs):
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_c_reads_neighbours_as_one_word() -> None:
    """An index is even or odd through what its variables were bound to."""
    x, y = tirx.Var("x", "int32"), tirx.Var("y", "int32")
    halves = tirx.decl_buffer((64,), "float16", "w")
    writer = Expressions(lambda v: str(v.name), lambda b, i: f"{b.name}[{i}]")
    writer.parities.bind(y, x * 4 + 1)

    def text(index: object) -> str:
        return writer.write(tirx.Cast("float32", tirx.BufferLoad(halves, [index])))

    assert text(x) == "ts_widened(w[x])"
    assert text(x * 6) == "ts_widened_low(&w[(x * 6)])"
    assert text(y) == "ts_widened_high(&w[(y - 1)])"
    assert text(y + 1) == "ts_widened_low(&w[(y + 1)])"
    assert Parities().of(y) is None
