"""Convolution of int8 on 64-bit Arm and RISC-V with vectors: sums by a function of the runtime."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.integer_conv2d import copy_rows, row_loops
from schedules.fused import FusedSum, fused_sum

# Sums of a tile stay in this share of the first cache level until the epilogue reads them.
SUMS_SHARE = 4
SUM_BYTES = 4
# A work item has so many products, or its rows are copied for little: neighbours copy them too.
LEAST_PRODUCTS = 2**17
LANES = (4, 8, 16)  # of the runtime's function
EPILOGUE_LANES = 16  # a register of int8


def dot_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of columns to a function of the runtime; it is marked.

    Matches: as `integer_conv2d`, rows and weights as `sums_by_function` has them.
    before: for n, y, x, o, lane: for ky, kx, c: acc;   for n, y, x, o: epilogue
    after:  parallel n, chunk of y: (copy the rows needed; for y, o, x/tile: (marked: for lane, x,
              ky, kx, c: acc;   for x: vectorized lane: epilogue))
            where nothing is copied, tiles of channels and columns are shared too
    """
    kernel = fused_sum(func, role=roles.INTEGER_CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    if not sums_by_function(kernel, spec):
        return None
    schedule_dot_conv2d(kernel, spec, roles.INTEGER_SUMS)
    return kernel.sch


def sums_by_function(kernel: FusedSum, spec: TargetSpec) -> bool:
    """Whether operands are packed as a function of the runtime reads them."""
    sch, main = kernel.sch, kernel.main
    if len(sch.get(main).reads) != 2:
        return False
    rows, weights = (read.source.ty for read in sch.get(main).reads)
    lanes, group = (int(extent) for extent in weights.shape[-2:])
    known = (group, str(rows.dtype)) in function_kinds(spec)
    return known and str(weights.dtype) == "int8" and lanes in LANES


def function_kinds(spec: TargetSpec) -> tuple[tuple[int, str], ...]:
    """Products of a lane that lie together, and type of the rows, of the runtime's functions."""
    if spec.llvm.sums_fours:
        return ((4, "int8"),)
    if spec.llvm.is_aarch64:  # products of two registers' halves, or one by one
        return ((8, "int8"), (1, "int16"))
    return ((1, "int8"),) if spec.llvm.has_riscv_vectors or sums_in_words(spec) else ()


def sums_in_words(spec: TargetSpec) -> bool:
    """Whether the machine has words of 64 bits and no vectors: a word is three sums."""
    return spec.llvm.architecture.endswith("64") and spec.lanes(dtype_bits=32) == 1


def machine_mark(spec: TargetSpec) -> int:
    """The number of the mark for the runtime's functions."""
    if sums_in_words(spec):
        return roles.WORDS
    if spec.llvm.has_riscv_vectors:
        return roles.RISCV_VECTORS
    return roles.DOTS if spec.llvm.sums_fours else roles.NARROW_PAIRS


def run_of(columns: int, lanes: int, spec: TargetSpec) -> int:
    """How many columns' sums are made at once: a divisor of all, where one is not too small."""
    fitting = max(1, spec.cache.l1d_bytes // SUMS_SHARE // (lanes * SUM_BYTES))
    divisor = steps.largest_divisor(columns, fitting)
    return divisor if 2 * divisor >= min(columns, fitting) else fitting


def split_run(sch: s_tir.Schedule, loop: Any, run: int) -> list[Any]:
    """Split a loop by the run that is drawn, `run` by default; a divisor where that is one."""
    if match.extent(sch, loop) % run:
        return steps.split_drawn(sch, loop, run, 2 * run)
    return steps.split_evenly(sch, loop, run)


def rows_of_item(kernel: FusedSum, share: int, spec: TargetSpec) -> int:
    """Output rows for which rows are copied together.

    Args:
        share: how many items share the channels of a row.
    """
    if kernel.before is None:
        return 1
    extents = match.axis_extents(kernel.sch, kernel.main)
    _, padded_rows, *row = match.axis_extents(kernel.sch, kernel.before)
    row_bytes = prod(row) // share * match.output_bits(kernel.sch, kernel.before) // 8
    products = prod(extents[2:]) // share
    most = spec.cache.l2_bytes // 4 // row_bytes * extents[1] // padded_rows
    enough = min(-(-LEAST_PRODUCTS // products), extents[1], max(1, most))
    return min(d for d in range(enough, extents[1] + 1) if extents[1] % d == 0)


def schedule_dot_conv2d(kernel: FusedSum, spec: TargetSpec, mark: str) -> None:
    """Sums of a run of columns at a time, their nest marked with `mark`."""
    sch, conv = kernel.sch, kernel.main
    _, _, columns, _, lanes = match.axis_extents(sch, conv)[:5]
    batch, row, column, channel = row_loops(kernel)
    block, lane = sch.split(channel, factors=[None, lanes])
    run = run_of(columns, lanes, spec)
    outer_column, inner_column = split_run(sch, column, run)
    chunk, row = steps.split_evenly(sch, row, rows_of_item(kernel, 1, spec))
    sch.reorder(batch, chunk, row, block, outer_column, inner_column, lane)
    if kernel.before is not None:
        shared = sch.fuse(batch, chunk)
    elif columns % run:
        shared = sch.fuse(batch, chunk, row, block)
    else:
        shared = outer_column = sch.fuse(batch, chunk, row, block, outer_column)
    steps.mark_tails(sch, *([outer_column] if columns % run else []))
    depth = place_sums(sch, conv, outer_column)
    if kernel.before is not None:
        copy_rows(sch, kernel.before, shared, spec)
    sch.parallel(shared)
    vectorize_lanes(sch, lane)
    *single, columns_loop, one, lane, tap_y, tap_x, group, inner = list(sch.get_loops(conv))[depth:]
    nest = (*single, one, lane, columns_loop, tap_y, tap_x, group, inner)
    number = machine_mark(spec)
    steps.mark_sums(sch, conv, depth, nest, len(single) + 1, mark, number)


def vectorize_lanes(sch: s_tir.Schedule, lane: Any) -> None:
    """Make vectors of an epilogue's loop over lanes: whole ones of 16 at most."""
    lanes = match.extent(sch, lane)
    width = steps.vector_width(lanes, EPILOGUE_LANES)
    if width < lanes:
        _, lane = sch.split(lane, factors=[None, width])
    sch.vectorize(lane)


def place_sums(sch: s_tir.Schedule, block: Any, loop: Any) -> int:
    """Compute the sums at the loop, in scratch; return how many loops are around them."""
    sch.compute_at(block, loop, preserve_unit_loops=True)
    sch.set_scope(block, 0, "local")
    extents = match.axis_extents(sch, block)
    return len(sch.get_loops(block)) - len(extents)
