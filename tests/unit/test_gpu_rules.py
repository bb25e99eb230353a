"""What each rule for GPUs does not take, and that no rule writes into the kernel it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnx
import pytest
import tvm_ffi
from tvm import te
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.kernels.gpu.launches import launched_kernel
from compiler.stages.operators import gpu_conv2d, gpu_product
from compiler.stages.operators.rows import softmax_rows
from compiler.target_spec import GpuSpec, Precision, load_target
from compiler.tvm_target import device_target
from schedules import roles
from schedules.cuda.product_tile import ProductTile, product_tile
from schedules.cuda.tensor_cores import FACTORS
from schedules.cuda.threads import gpu_of
from tests import signatures
from tests.gpu_cases import CASES, running_sum_model
from tests.lowered import apply_fallback, apply_rule, only_kernel, workloads

SPEC = load_target("cuda-sm80")
GPU = gpu_of(SPEC)
RULES = ("gpu-product", "gpu-depthwise-conv2d", "gpu-rows", "gpu-reduction")


def _func(inputs: list[te.Tensor], output: te.Tensor) -> PrimFunc:
    return te.create_prim_func([*inputs, output])


def _product_with(
    change: Callable[[te.Tensor], te.Tensor], *, rows: int = 20, columns: int = 18
) -> PrimFunc:
    left = te.placeholder((rows, 8), "float32", name="left")
    right = te.placeholder((8, columns), "float32", name="right")
    extents = gpu_product.ProductExtents(batch=1, rows=rows, columns=columns, depth=8)
    tile = ProductTile(rows=16, columns=16, depth=16)
    sums = gpu_product.tiled_product(
        lambda _b, row, k: left[row, k], lambda _b, column, k: right[k, column], extents, tile
    )
    return _func([left, right], change(sums))


def _plain(sums: te.Tensor) -> te.Tensor:
    return te.compute((20, 18), lambda y, x: sums[0, y, x], name="unpack")


def _summed(sums: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((0, 18), "column")
    return te.compute((20,), lambda y: te.sum(sums[0, y, k], axis=k), name="sums")


def _half(sums: te.Tensor) -> te.Tensor:
    return te.compute((10, 18), lambda y, x: sums[0, y, x], name="half")


def _row(sums: te.Tensor) -> te.Tensor:
    return te.compute((1, 18), lambda y, x: sums[0, y, x], name="unpack")


def test_product_takes_the_plain_result() -> None:
    assert apply_rule("gpu-product", _product_with(_plain), SPEC) is not None


@pytest.mark.parametrize(
    "func",
    [_product_with(_summed), _product_with(_half), _product_with(_row, rows=1)],
    ids=["sum-after-it", "half-of-it", "one-row"],
)
def test_product_near_misses(func: PrimFunc) -> None:
    assert apply_rule("gpu-product", func, SPEC) is None


@pytest.mark.parametrize(("target", "precision"), [("cuda-sm80", "float32"), ("cuda-sm75", "tf32")])
def test_tensor_product_near_misses(target: str, precision: Precision) -> None:
    func = only_kernel(_conv(), SPEC, precision)
    assert apply_rule("gpu-tensor-product", func, load_target(target)) is None
    # Of float32, or of a GPU whose tensor cores lack the instruction: the next rule takes it.
    assert apply_rule("gpu-product", func, load_target(target)) is not None


def test_tensor_product_leaves_its_kernel_alone() -> None:
    func = only_kernel(_conv(), SPEC, "tf32")
    before = tvm_ffi.structural_hash(func)
    assert apply_rule("gpu-tensor-product", func, SPEC) is not None
    assert tvm_ffi.structural_hash(func) == before


def _depthwise(after: Callable[[te.Tensor], te.Tensor]) -> PrimFunc:
    data = te.placeholder((1, 8, 6, 8), "float32", name="data")
    weight = te.placeholder((8, 3, 3), "float32", name="weight")
    sig = signatures.conv2d(8, 8, 6, width=8, groups=8)
    return _func([data, weight], after(gpu_conv2d.gpu_depthwise_conv2d(data, weight, sig)))


def test_depthwise_near_misses() -> None:
    def row_sums(sums: te.Tensor) -> te.Tensor:
        k = te.reduce_axis((0, int(sums.shape[3])), "x")
        return te.compute(sums.shape[:3], lambda n, c, y: te.sum(sums[n, c, y, k], axis=k))

    def some(sums: te.Tensor) -> te.Tensor:
        return te.compute((1, 4, *sums.shape[2:]), lambda *i: sums[i] * 2.0)

    assert apply_rule("gpu-depthwise-conv2d", _depthwise(lambda sums: sums), SPEC) is not None
    for after in (row_sums, some):
        assert apply_rule("gpu-depthwise-conv2d", _depthwise(after), SPEC) is None


def _softmax(size: int) -> PrimFunc:
    data = te.placeholder((3, size), "float32", name="data")
    return _func([data], softmax_rows(data, 128))


def test_rows_near_misses() -> None:
    assert apply_rule("gpu-rows", _softmax(4_000), SPEC) is not None
    # 48 KB hold 12,288 numbers: the row's powers and the sums' lanes do not fit.
    assert apply_rule("gpu-rows", _softmax(12_288), SPEC) is None
    narrow = replace(GPU, threads_per_block_count=64, warp_threads_count=32)
    assert apply_rule("gpu-rows", _softmax(400), replace(SPEC, gpu=narrow)) is None


def _column_sums(rows: int, columns: int, *, outer: bool) -> PrimFunc:
    """Sums over the first or the last axis."""
    shape = (columns, rows) if outer else (rows, columns)
    data = te.placeholder(shape, "float32", name="data")
    k = te.reduce_axis((0, columns), "k")
    total = te.compute(
        (rows,), lambda r: te.sum(data[k, r] if outer else data[r, k], axis=k), name="sums"
    )
    return _func([data], total)


def test_reduction_near_misses() -> None:
    fills = GPU.sm_count * GPU.threads_per_sm_count
    assert apply_rule("gpu-reduction", _column_sums(6, 64, outer=True), SPEC) is not None
    assert apply_rule("gpu-reduction", _column_sums(fills, 64, outer=False), SPEC) is not None
    # As many sums as threads, each thread's neighbour reading the neighbour: no block is needed.
    assert apply_rule("gpu-reduction", _column_sums(fills, 64, outer=True), SPEC) is None
    assert apply_rule("gpu-reduction", _column_sums(6, 257, outer=False), SPEC) is None  # prime


@pytest.mark.parametrize("rule", RULES)
def test_rule_leaves_its_kernel_alone(rule: str) -> None:
    model = next(case.model for case in CASES if rule in case.schedules)
    func = only_kernel(model, SPEC)
    before = tvm_ffi.structural_hash(func)
    assert apply_rule(rule, func, SPEC) is not None
    assert tvm_ffi.structural_hash(func) == before


def test_functions_without_blocks_run_in_one_thread() -> None:
    found = workloads(running_sum_model(), SPEC).functions
    nests = {apply_fallback(func, SPEC)[1] for func in found.values()}
    assert "one-thread" in nests


def _cost_of(gpu: GpuSpec, batch: int, rows: int, columns: int) -> tuple[int, int]:
    tile = product_tile(batch, rows, columns, gpu)
    return tile.rows, tile.columns


def test_tiles_are_large_where_there_are_blocks_for_all_multiprocessors() -> None:
    assert _cost_of(GPU, 1, 16, 16) == (16, 16)
    assert _cost_of(GPU, 1, 4_096, 4_096) == (128, 128)
    few = replace(GPU, sm_count=4)
    small, large = (_cost_of(gpu, 1, 256, 256) for gpu in (GPU, few))
    assert small[0] * small[1] < large[0] * large[1]


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_tiles_of_tensor_cores_are_whole_instructions(precision: Precision) -> None:
    for rows, columns in ((1, 1), (20, 300), (4_096, 4_096)):
        tile = product_tile(1, rows, columns, GPU, precision)
        assert tile.rows % 32 == 0
        assert tile.columns % 32 == 0
        assert tile.depth % FACTORS[precision].steps == 0


def _draws(schedule: Schedule) -> list[Any]:
    return [i for i in schedule.trace.insts if i.kind.name == "SampleCategorical"]


def _decided(schedule: Schedule) -> list[int]:
    """What was drawn, in order."""
    decisions = schedule.trace.decisions
    return [int(draw.attrs[0][int(decisions[draw])]) for draw in _draws(schedule)]


def test_tiles_are_drawn_with_the_default_as_decision() -> None:
    """A tuner may take another tile that divides the same operands."""
    func = only_kernel(_conv(), SPEC)
    schedule = apply_rule("gpu-product", func, SPEC)
    assert schedule is not None
    tile = product_tile(2, 17, 66, GPU)
    assert _decided(schedule) == [tile.rows // 16, tile.columns // 16, tile.depth]


@pytest.mark.parametrize(
    ("rule", "case", "number"),
    [
        ("gpu-depthwise-conv2d", "depthwise", 256),  # threads, of 6 x 9 x 11 elements
        ("gpu-reduction", "gemm-vector", 128),  # parts of a sum
    ],
)
def test_threads_are_drawn_with_the_default_as_decision(rule: str, case: str, number: int) -> None:
    func = only_kernel(next(one.model for one in CASES if one.name == case), SPEC)
    schedule = apply_rule(rule, func, SPEC)
    assert schedule is not None
    assert _decided(schedule) == [number]


@pytest.mark.parametrize("rule", RULES)
def test_another_decision_is_a_schedule_too(rule: str) -> None:
    """The first choice of each draw instead of the default: the kernel is still lowered."""
    model = next(case.model for case in CASES if rule in case.schedules)
    func = only_kernel(model, SPEC)
    schedule = apply_rule(rule, func, SPEC)
    assert schedule is not None
    trace = schedule.trace
    for draw in _draws(schedule):
        trace = trace.with_decision(draw, 0, remove_postproc=False)
    other = Schedule(func)
    trace.apply_to_schedule(other, remove_postproc=False)
    assert _decided(schedule) == [] or _decided(other) != _decided(schedule)
    assert launched_kernel(other.mod["main"], "k", device_target(SPEC)).launches


def test_gathered_operands_keep_their_roles() -> None:
    func = only_kernel(_conv(), SPEC)
    found: Any = func.script()
    for role in (roles.GPU_LEFT, roles.GPU_RIGHT, roles.GPU_PRODUCT):
        assert f'"{role}"' in found


def _conv() -> onnx.ModelProto:
    return next(case.model for case in CASES if case.name == "conv-strided")
