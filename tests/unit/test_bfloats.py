"""Instructions of bfloat16: which code calls them, what is left in objects, what they compute."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tvm import s_tir, te
from tvm.tirx import PrimFunc

from compiler.kernels.bfloats import multiplies_bfloats
from compiler.kernels.build import build_kernel
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.target_spec import TargetSpec, load_target
from compiler.tvm_target import tvm_target
from schedules.cpu.dot_step import BFLOATS, sums_by_steps
from tests.emulated_bfloats import emulate_bfloats, pair_sums, rounded
from tests.native_kernel import NativeKernel

CHUNKS = 40
needs_objdump = pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")


def _marked(
    lanes: int, *, rows: int = 1, weights_by_lane: bool = True, doubles: bool = False
) -> PrimFunc:
    """sums[L] of given[K, L * 2], rounded, and weights[K, L, 2]; lanes and products marked.

    Args:
        rows: lanes between two of the rows' elements; 1 as the instruction has them.
        weights_by_lane: else weights[K, 2, L], which it has not.
        doubles: the kernel adds numbers of bfloat16, too.
    """
    shape = (CHUNKS, lanes, 2) if weights_by_lane else (CHUNKS, 2, lanes)
    given = te.placeholder((CHUNKS, 2 * rows * lanes), "float32", name="given")
    weights = te.placeholder(shape, "bfloat16", name="weights")
    near = te.compute(given.shape, lambda k, i: given[k, i].astype("bfloat16"), name="near")
    chunk, inner = te.reduce_axis((0, CHUNKS), "chunk"), te.reduce_axis((0, 2), "inner")

    def term(lane: Any) -> Any:
        factor = weights[(chunk, lane, inner) if weights_by_lane else (chunk, inner, lane)]
        row = near[chunk, (lane * 2 + inner) * rows]
        return te.sum(row.astype("float32") * factor.astype("float32"), axis=[chunk, inner])

    sums = te.compute((lanes,), term, name="sums")
    operands = [given, weights, sums]
    if doubles:
        operands.append(te.compute(near.shape, lambda k, i: near[k, i] + near[k, i]))
    sch = s_tir.Schedule(te.create_prim_func(operands))
    _, inside = sch.get_loops(sch.get_sblock("near"))
    sch.vectorize(sch.split(inside, factors=[None, lanes])[1])
    block = sch.get_sblock("sums")
    lane, chunk_loop, inner_loop = sch.get_loops(block)
    sch.reorder(chunk_loop, lane, inner_loop)
    sums_by_steps(sch, block, chunk_loop, (lane, inner_loop), 0, BFLOATS[lanes][0])
    return sch.mod["main"]


def _built(func: PrimFunc, spec: TargetSpec) -> CompiledKernel:
    return build_kernel(
        func,
        name="kernel",
        input_count=2,
        outcome=ScheduleOutcome(source="rule", name="test"),
        target=tvm_target(spec),
    )


def _code(kernel: CompiledKernel, folder: Path) -> str:
    (folder / "kernel.o").write_bytes(kernel.object_code)
    command = ("objdump", "-d", "--no-show-raw-insn", "kernel.o")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@needs_objdump
@pytest.mark.parametrize("lanes", BFLOATS)
@pytest.mark.parametrize("target", ["znver4", "sapphire-rapids"])
def test_step_and_rounding_are_an_instruction_each(target: str, lanes: int, tmp_path: Path) -> None:
    kernel = _built(_marked(lanes), load_target(target))
    code = _code(kernel, tmp_path)
    register = {4: "xmm", 8: "ymm", 16: "zmm"}[lanes]
    assert re.search(rf"vdpbf16ps .*%{register}", code)
    assert re.search(r"vcvtne2?ps2bf16", code)
    assert not re.search("vfmadd|call", code)
    assert kernel.libm_symbols == kernel.runtime_symbols == ()
    named = subprocess.run(
        ("nm", "kernel.o"), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "bfloat" not in named.stdout  # a function left behind would be there for each kernel


@pytest.mark.parametrize("wrong", [{"rows": 2}, {"weights_by_lane": False}])
@needs_objdump
def test_other_places_of_operands_stay_loops(wrong: dict[str, Any], tmp_path: Path) -> None:
    code = _code(_built(_marked(16, **wrong), load_target("znver4")), tmp_path)
    assert "vdpbf16ps" not in code
    assert re.search(r"vcvtne2?ps2bf16", code)


@pytest.mark.parametrize("lanes", BFLOATS)
def test_emulated_step_computes_as_the_manual_says(
    lanes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = emulate_bfloats(monkeypatch)
    given, weights = _operands(lanes)
    kernel = NativeKernel(_built(_marked(lanes), spec), tmp_path)
    (got,) = kernel([given, weights], [("float32", (lanes,))])
    want = np.zeros(lanes, np.float32)
    for row, factor in zip(rounded(given), weights.astype(np.float32), strict=True):
        want = pair_sums(want, row.reshape(lanes, 2), factor)
    assert np.array_equal(got.view(np.uint32), want.view(np.uint32))
    assert np.isfinite(want).any()


def _operands(lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all sizes: large ones that cancel, ties, denormal ones, an infinity, a NaN."""
    random = np.random.default_rng(lanes)
    scale = 2.0 ** random.integers(-30, 30, (CHUNKS, 2 * lanes))
    given = (random.standard_normal((CHUNKS, 2 * lanes)) * scale).astype(np.float32)
    weights = random.standard_normal((CHUNKS, lanes, 2)).astype(ml_dtypes.bfloat16)
    given[1, :2] = 1 + 2.0**-8, 1 + 3 * 2.0**-8  # in the middle of two
    given[2, :2], weights[2, 0] = (3e38, -3e38), 1.0
    given[:, 2:4], weights[:, 1] = 1e-39, 1.0  # lane 1: denormal, so nothing but zeros
    given[:, 4:6], weights[:, 2] = 1e-20, 1e-19  # lane 2: products are
    given[3, 6:8] = np.inf, 1.0
    return given, weights


def test_order_of_the_two_products_is_the_manuals() -> None:
    """1 + 2**24 lies in the middle of two, so 1 is lost twice; 1 + 1 first would be kept."""
    sums, ones = np.array([1.0], np.float32), np.array([[1.0, 1.0]], np.float32)
    assert pair_sums(sums, np.array([[1.0, 2.0**24]], np.float32), ones)[0] == 2.0**24
    assert pair_sums(sums, np.array([[2.0**24, 1.0]], np.float32), ones)[0] == 2.0**24 + 2


def test_rounding_is_half_to_even_and_keeps_nan() -> None:
    numbers = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1e-39, np.inf, 3.4e38], np.float32)
    assert rounded(numbers).tolist() == [1.0, 1 + 2.0**-6, -0.0, np.inf, np.inf]
    ours = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert np.array_equal(rounded(ours), ours.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_other_kernels_with_bfloats_are_legalized_by_tvm() -> None:
    assert multiplies_bfloats(_marked(16))
    assert not multiplies_bfloats(_marked(16, doubles=True))
    given = te.placeholder((32,), "bfloat16", name="given")
    doubled = te.compute((32,), lambda i: given[i] + given[i], name="doubled")
    assert not multiplies_bfloats(te.create_prim_func([given, doubled]))
