"""Products of small integers on a GPU: which rule takes which, and how operands are packed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm_ffi
from tvm import te
from tvm.tirx import PrimFunc

from compiler.kernels.gpu.launches import launched_kernel
from compiler.kernels.gpu.source import cuda_source, own_functions
from compiler.pipeline import compile as compile_model
from compiler.relax_program import extract_program
from compiler.stages.operators.gpu_integer_product import (
    IntegerTiles,
    along_sums,
    gpu_integer_matmul,
    words,
)
from compiler.stages.operators.integer_dot import integer_dot
from compiler.stages.operators.integer_products import conv2d_sums, matmul_sums
from compiler.target_spec import TargetSpec
from compiler.tvm_target import device_target
from schedules.cuda.product_tile import IntegerProduct, ProductTile, integer_product_tile
from schedules.cuda.threads import gpu_of
from tests import signatures
from tests.gpu_integer_cases import SPEC, one_convolution, spec_of
from tests.lowered import apply_rule, loaded, staged, workloads
from tests.onnx_models import save
from tests.quantized_models import QdqBuilder, all_cases

GPU = gpu_of(SPEC)
RULES: dict[IntegerProduct, str] = {
    "int8": "gpu-tensor-product",
    "dp4a": "gpu-dot-product",
    "int32": "gpu-product",
}


def _small(sums: te.Tensor) -> te.Tensor:
    return te.compute(sums.shape, lambda *i: (sums[i] + 1).astype("int8"), name="small")


def _summed(sums: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((0, sums.shape[1]), "column")
    return te.compute(sums.shape[:1], lambda y: te.sum(sums[y, k], axis=k), name="row_sums")


def _half(sums: te.Tensor) -> te.Tensor:
    return te.compute((10, sums.shape[1]), lambda y, x: sums[y, x], name="half")


def _product(
    kind: IntegerProduct,
    after: Callable[[te.Tensor], te.Tensor] = _small,
    dtype: str = "int8",
    rows: int = 40,
) -> PrimFunc:
    tiles = IntegerTiles(kind=kind, tile=ProductTile(rows=32, columns=32, depth=32), depth=64)
    left = te.placeholder((rows, 50), dtype, name="left")
    weight = te.placeholder((33, 64), "int8", name="weight")
    sums = gpu_integer_matmul(left, weight, columns=33, tiles=tiles)
    return te.create_prim_func([left, weight, after(sums)])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kind", RULES)
def test_rule_takes_its_kind_only(kind: IntegerProduct, dtype: str) -> None:
    func = _product(kind, dtype=dtype)
    taken = {rule for rule in RULES.values() if apply_rule(rule, func, SPEC) is not None}
    assert taken == {RULES[kind]}


@pytest.mark.parametrize("after", [_summed, _half], ids=["sum-after-it", "half-of-it"])
@pytest.mark.parametrize("kind", RULES)
def test_near_misses(kind: IntegerProduct, after: Callable[[te.Tensor], te.Tensor]) -> None:
    assert apply_rule(RULES[kind], _product(kind, after), SPEC) is None


@pytest.mark.parametrize(("kind", "arch"), [("int8", "sm_70"), ("dp4a", "sm_60")])
def test_a_gpu_without_the_instruction_is_a_near_miss(kind: IntegerProduct, arch: str) -> None:
    assert apply_rule(RULES[kind], _product(kind), spec_of(arch)) is None


@pytest.mark.parametrize("kind", RULES)
def test_rule_leaves_its_kernel_alone(kind: IntegerProduct) -> None:
    func = _product(kind)
    before = tvm_ffi.structural_hash(func)
    assert apply_rule(RULES[kind], func, SPEC) is not None
    assert tvm_ffi.structural_hash(func) == before


@pytest.mark.parametrize("kind", RULES)
def test_more_tiles_of_rows_than_fit_along_y_are_along_x(kind: IntegerProduct) -> None:
    def grid(rows: int) -> tuple[int, int, int]:
        schedule = apply_rule(RULES[kind], _product(kind, rows=rows), SPEC)
        assert schedule is not None
        (launch,) = launched_kernel(schedule.mod["main"], "k", device_target(SPEC)).launches
        return launch.grid

    assert grid(40) == (2, 2, 1)
    assert grid(32 * 65_536) == (65_536, 2, 1)
    assert grid(32 * 65_535) == (2, 65_535, 1)


def _source(func: PrimFunc, rule: str) -> str:
    schedule = apply_rule(rule, func, SPEC)
    assert schedule is not None
    launched = launched_kernel(schedule.mod["main"], "k", device_target(SPEC))
    return cuda_source(launched.functions, device_target(SPEC))


def test_whole_words_are_copied_at_once() -> None:
    """50 products are no whole words: bytes of the data are read alone, words of the weights."""
    source = _source(_product("dp4a"), "gpu-dot-product")
    assert "*(int*)(weight" in source
    assert "*(int*)(left" not in source
    functions = workloads(one_convolution(8), SPEC).functions
    (func,) = (f for name, f in functions.items() if "conv2d" in name)
    assert "*(int*)(integers" in _source(func, "gpu-dot-product")


def test_only_what_is_called_is_defined() -> None:
    dot, tensor = (own_functions(f"{name}(") for name in ("tunesmith_dot", "tunesmith_product"))
    assert "dp4a.s32.s32" in dot
    assert "mma.sync" not in dot
    assert "m16n8k32" in tensor
    assert "dp4a" not in tensor
    assert own_functions("tunesmith_dp4a_u8(") == dot
    assert own_functions("expf(") == ""


def test_depthwise_sums_of_integers_have_a_thread_each() -> None:
    def kernels(group: int) -> list[PrimFunc]:
        functions = workloads(one_convolution(8, 8, group=group), SPEC).functions
        return [func for name, func in functions.items() if "conv2d" in name]

    (depthwise,), (groups,) = kernels(8), kernels(2)
    assert apply_rule("gpu-depthwise-conv2d", depthwise, SPEC) is not None
    assert apply_rule("gpu-depthwise-conv2d", groups, SPEC) is None


def test_large_products_are_of_tensor_cores() -> None:
    def chosen(rows: int, columns: int, depth: int, spec: TargetSpec = SPEC) -> Any:
        return integer_product_tile((1, rows, columns), depth, gpu_of(spec))

    assert chosen(64, 64, 64)[0] == "dp4a"  # a tile for each multiprocessor, and some to spare
    assert chosen(4096, 512, 512)[0] == "int8"
    assert chosen(4096, 512, 512, spec_of("sm_70"))[0] == "dp4a"
    for rows, columns in ((20, 300), (4096, 4096)):
        kind, tile = chosen(rows, columns, 576)
        assert tile.rows % (32 if kind == "int8" else 16) == 0
        assert tile.columns % (32 if kind == "int8" else 16) == 0
    # 27 and 144 products are 32 and 160 in steps of 32 bytes, 576 are 9 steps of 64.
    assert [chosen(64, 64, depth)[1].depth for depth in (27, 144, 576)] == [32, 32, 64]


def test_what_has_no_instruction_is_multiplied_in_32_bits() -> None:
    sig, weight = signatures.conv2d(8, 16, 6), np.ones((16, 8, 3, 3), np.int8)

    def kind(weights: np.ndarray, spec: TargetSpec = SPEC) -> Any:
        _, compute = conv2d_sums(weights, sig=sig, dot=integer_dot(spec), zero=0)
        return compute.keywords["tiles"].kind  # type: ignore[attr-defined]

    assert kind(weight) == "dp4a"
    assert kind(weight.astype(np.int16)) == "int32"  # zero points far from 0
    assert kind(weight, spec_of("sm_60")) == "int32"


def test_weights_lie_along_their_sums() -> None:
    sig = signatures.conv2d(3, 16, 6)
    weight = np.arange(16 * 27).reshape(16, 3, 3, 3).astype(np.int8)
    packed, _ = conv2d_sums(weight, sig=sig, dot=integer_dot(SPEC), zero=0)
    assert packed.shape == (16, 32)
    assert packed[5, (1 * 3 + 2) * 3 + 1] == weight[5, 1, 1, 2]
    assert not packed[:, 27:].any()
    tiles = IntegerTiles(kind="int32", tile=ProductTile(rows=16, columns=16, depth=8), depth=8)
    assert along_sums(np.ones((2, 5), np.int16), tiles).sum() == 10


def test_words_of_weights_begin_with_their_low_byte() -> None:
    weight = np.array([[1, -2, 3, -4, 5]], np.int8)
    assert words(weight).tolist() == [[1 + (254 << 8) + (3 << 16) - (4 << 24), 5]]
    packed, _ = matmul_sums(weight.T, rows=2, dot=integer_dot(SPEC), zero=0)
    assert packed.dtype == np.int32


@pytest.mark.slow
def test_every_case_is_integer_on_a_gpu() -> None:
    read = loaded(all_cases())
    program = extract_program(staged(read, SPEC), read)
    assert program.float_quantizers == ()
    floats = [v for v in program.values if v.dtype == "float32" and v.kind.value != "constant"]
    assert floats == []


def test_facts_of_instructions() -> None:
    gpus = {arch: replace(GPU, arch=arch) for arch in ("sm_60", "sm_61", "sm_72", "sm_75")}
    assert [arch for arch, gpu in gpus.items() if gpu.sums_bytes] == ["sm_61", "sm_72", "sm_75"]
    assert [arch for arch, gpu in gpus.items() if gpu.multiplies_bytes] == ["sm_75"]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cuda-sm75", "cuda-sm80", "cuda-sm89", "cuda-sm90"])
def test_ptxas_takes_every_product_and_it_fits_a_block(target: str, tmp_path: Path) -> None:
    builder = QdqBuilder()
    for dtype in ("int8", "uint8"):
        large = builder.data(6_000, 72, zero=3, dtype=dtype)
        builder.output(builder.node("MatMul", large, builder.weight(72, 512, axis=1)), 0.1)
        other = builder.data(72, 512, dtype=dtype, zero=9)
        builder.output(builder.node("MatMul", large, other), 0.1)
        few = builder.data(2, 72, zero=3, dtype=dtype)
        builder.output(builder.node("MatMul", few, builder.weight(72, 40, axis=1)), 0.1)
    image = builder.data(1, 8, 9, 9)
    for group, weight in ((1, builder.weight(16, 8, 3, 3)), (8, builder.weight(8, 1, 3, 3))):
        builder.output(builder.node("Conv", image, weight, group=group), 0.1)
    path = save(builder.model(), tmp_path / "products.onnx")
    artifact = compile_model(path, target=target, output=tmp_path / "out", verify="skip")
    kernels = artifact.report()["kernels"]
    used = {kernel["schedule"]["name"] for kernel in kernels}
    assert {*RULES.values(), "gpu-depthwise-conv2d", "gpu-reduction"} - used == {"gpu-product"}
    assert all(launch["spill_bytes"] == 0 for kernel in kernels for launch in kernel["launches"])
