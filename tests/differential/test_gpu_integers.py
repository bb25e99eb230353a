"""Quantized operators and models as a GPU computes them: the bytes of the contract's reference.

In OpenCL each thread multiplies for itself; in CUDA C++ on the processor (`tests/c/cuda_on_host.h`)
the registers of a warp's lanes are put together as the instructions do. What a GPU does with the
instructions is not shown by this.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.target_spec import TargetSpec
from compiler.verification_inputs import draw_inputs
from tests.differential.test_integer_kernels import MODELS, QUANTIZED
from tests.gpu_integer_cases import (
    SMALL_GPU,
    SPEC,
    drawn_convolution,
    drawn_products,
    one_convolution,
)
from tests.host_cuda import HostCuda
from tests.integer_reference import IntegerReference
from tests.lowered import loaded
from tests.onnx_models import make_model
from tests.opencl_marks import needs_opencl
from tests.opencl_program import cuda_program, opencl_program
from tests.opencl_run import run_opencl
from tests.quantized_models import CASES, all_cases, every_integer

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


def same_bytes(
    model: onnx.ModelProto,
    read: Model,
    spec: TargetSpec,
    given: Mapping[str, np.ndarray],
    host: HostCuda | None = None,
) -> set[str]:
    """The schedules of a model's kernels, whose outputs are those of the reference.

    Args:
        host: runs CUDA C++ instead of OpenCL.
    """
    made = (opencl_program if host is None else cuda_program)(read, spec)
    got = run_opencl(made, given, host)
    for name, expected in IntegerReference(model).run(given).items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)
        assert got[name].dtype == expected.dtype
    return made.schedules


@needs_opencl
@pytest.mark.parametrize(
    "name",
    [
        name if name == "residual" else pytest.param(name, marks=pytest.mark.emulator)
        for name in CASES
    ],
)
def test_operator(name: str) -> None:
    model = all_cases((name,))
    same_bytes(model, loaded(model), SPEC, every_integer(model, 0))


@needs_opencl
@pytest.mark.emulator
@pytest.mark.parametrize("spec", [SPEC, SMALL_GPU], ids=["dp4a", "tensor-cores"])
@pytest.mark.parametrize("seed", range(6))
def test_drawn_convolution(seed: int, spec: TargetSpec) -> None:
    model = drawn_convolution(seed)
    used = same_bytes(model, loaded(model), spec, every_integer(model, seed))
    assert ("gpu-tensor-product" if spec is SMALL_GPU else "gpu-dot-product") in used


@needs_opencl
@pytest.mark.emulator
@pytest.mark.parametrize("spec", [SPEC, SMALL_GPU], ids=["dp4a", "tensor-cores"])
@pytest.mark.parametrize("seed", range(2))
def test_drawn_products(seed: int, spec: TargetSpec) -> None:
    model = drawn_products(seed)
    used = same_bytes(model, loaded(model), spec, every_integer(model, seed))
    assert {
        "gpu-tensor-product" if spec is SMALL_GPU else "gpu-dot-product",
        "gpu-reduction",
    } <= used


@needs_opencl
@pytest.mark.emulator
@pytest.mark.parametrize(("rows", "rule"), [(2, "gpu-reduction"), (10, "gpu-dot-product")])
def test_product_with_a_zero_point_known_at_run_time(rows: int, rule: str) -> None:
    random = np.random.default_rng(rows)
    weight = random.integers(-128, 128, (96, 17)).astype(np.int8)
    model = make_model(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic"),
            helper.make_node("MatMulInteger", ["q", "w", "z"], ["sums"], "product"),
        ],
        inputs={"x": ("float32", [rows, 96])},
        outputs={"q": ("uint8", [rows, 96]), "z": ("uint8", []), "sums": ("int32", [rows, 17])},
        constants={"w": weight},
    )
    made = opencl_program(loaded(model), SPEC)
    assert rule in {k.outcome.name for name, k in made.kernels.items() if "matmul" in name}
    x = random.normal(size=(rows, 96)).astype(np.float32)
    got = {name: array.astype(np.int64) for name, array in run_opencl(made, {"x": x}).items()}
    assert got["z"] > 0
    np.testing.assert_array_equal(got["sums"], (got["q"] - got["z"]) @ weight.astype(np.int64))


@needs_compiler
@pytest.mark.parametrize("spec", [SPEC, SMALL_GPU], ids=["dp4a", "tensor-cores"])
def test_tiny_convolution_by_the_instructions(spec: TargetSpec, tmp_path: Path) -> None:
    model = one_convolution(8, 33, 6)
    device = HostCuda(tmp_path)
    used = same_bytes(model, loaded(model), spec, every_integer(model, 0), device)
    assert ("gpu-tensor-product" if spec is SMALL_GPU else "gpu-dot-product") in used


@needs_compiler
@pytest.mark.emulator
@pytest.mark.parametrize("spec", [SPEC, SMALL_GPU], ids=["dp4a", "tensor-cores"])
@pytest.mark.parametrize("seed", range(6))
def test_convolution_by_the_instructions(seed: int, spec: TargetSpec, tmp_path: Path) -> None:
    model = drawn_convolution(seed)
    device = HostCuda(tmp_path)
    used = same_bytes(model, loaded(model), spec, every_integer(model, seed), device)
    assert ("gpu-tensor-product" if spec is SMALL_GPU else "gpu-dot-product") in used


@needs_compiler
@pytest.mark.emulator
def test_tensor_cores_of_sm75(tmp_path: Path) -> None:
    """Their instruction is a quarter of the later ones'."""
    model = drawn_convolution(2)
    device = HostCuda(tmp_path, arch=750)
    used = same_bytes(model, loaded(model), SMALL_GPU, every_integer(model, 2), device)
    assert "gpu-tensor-product" in used


@needs_compiler
@pytest.mark.emulator
@pytest.mark.parametrize("spec", [SPEC, SMALL_GPU], ids=["dp4a", "tensor-cores"])
@pytest.mark.parametrize("seed", range(2))
def test_products_by_the_instructions(seed: int, spec: TargetSpec, tmp_path: Path) -> None:
    model = drawn_products(seed)
    same_bytes(model, loaded(model), spec, every_integer(model, seed), HostCuda(tmp_path))


@needs_opencl
@pytest.mark.emulator
@pytest.mark.parametrize("name", QUANTIZED)
def test_model(name: str) -> None:
    path = MODELS / name
    model = load_model(path)
    same_bytes(onnx.load(path), model, SPEC, draw_inputs(model, 3))
