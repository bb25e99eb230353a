"""Convolution of small integers by sums of products: four output channels in general registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.integer_conv2d import row_loops
from schedules.fused import FusedSum, fused_sum
from schedules.mcu.dot_product import dot_product_intrinsic

# Steps of a sum in a row: each is a load of data, and one of weights and a product for each lane.
UNROLLED_STEPS = 4
COPIED_VECTORS = 8


def dot_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Sum the products of a group of channels by one instruction, four output channels at a time.

    Matches: one block of role INTEGER_CONV2D whose weights lie in groups that the machine sums, a
    copy of rows before it, element-wise after it.
    before: for n, y, x, o, lane: for ky, kx, chunk, c: acc;   for n, y, x, o: epilogue
    after:  for n, y: (copy the rows needed; for o/lanes, x: (for ky, kx, chunk/4: unrolled chunk,
              lane: dot product;   vectorized lane: epilogue))
    """
    if not spec.vector.sums_products:
        return None
    kernel = fused_sum(func, role=roles.INTEGER_CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    intrinsic = dot_product_of(kernel.sch, kernel.main)
    if intrinsic is None:
        return None
    _schedule(kernel, intrinsic, spec)
    return kernel.sch


def dot_product_of(sch: s_tir.Schedule, sums: Any) -> str | None:
    """The intrinsic for the sums' last axis; None if there is none, or weights are not int8."""
    data, weight = match.read_dtypes(sch, sums)
    group = match.axis_extents(sch, sums)[-1]
    return dot_product_intrinsic(group, data) if weight == "int8" else None


def _schedule(kernel: FusedSum, intrinsic: str, spec: TargetSpec) -> None:
    sch, conv = kernel.sch, kernel.main
    lanes = match.axis_extents(sch, conv)[4]
    width = match.axis_extents(sch, kernel.epilogue)[2]
    batch, row, column, channel = row_loops(kernel)
    if kernel.before is not None and match.extent(sch, column) != width:
        # Pointwise, all positions in one row: copied a row of the output at a time.
        rows, column = sch.split(column, factors=[None, width])
        row = sch.fuse(row, rows)
    outer_channel, lane = sch.split(channel, factors=[None, lanes])
    sch.reorder(batch, row, outer_channel, column, lane)
    sch.compute_at(conv, column, preserve_unit_loops=True)
    if kernel.before is not None:
        copy_row(sch, kernel.before, row, spec)
    sch.vectorize(lane)
    loops = list(sch.get_loops(conv))[4:]
    *single, lane, tap_y, tap_x, chunk, inner = loops
    sch.reorder(*single, tap_y, tap_x, chunk, lane, inner)
    sum_dot_products(sch, conv, (tap_y, tap_x, chunk), lane, intrinsic, depth=4)


def copy_row(sch: s_tir.Schedule, copy: Any, loop: Any, spec: TargetSpec) -> None:
    """Make the rows that one iteration of `loop` reads, channels in vectors.

    Some vectors are moved in a row: of a loop over single ones LLVM makes a call of memcpy, which
    in a small C library moves bytes.
    """
    sch.compute_at(copy, loop, preserve_unit_loops=True)
    lanes = spec.lanes(dtype_bits=match.output_bits(sch, copy))
    for vectors in steps.vectorize_with_tail(sch, list(sch.get_loops(copy))[-1], lanes):
        count = steps.largest_divisor(match.extent(sch, vectors), COPIED_VECTORS)
        sch.unroll(sch.split(vectors, factors=[None, count])[1])


def sum_dot_products(
    sch: s_tir.Schedule, sums: Any, steps_of_sum: tuple[Any, ...], lane: Any, name: str, depth: int
) -> None:
    """Keep a block's lanes in registers over the steps; the loop inside of `lane` is a product.

    Args:
        steps_of_sum: loops over what is summed, outermost first.
        depth: how many loops around the sums there are.
    """
    *outer, chunk = steps_of_sum
    chunks = match.extent(sch, chunk)
    outer_chunk, inner_chunk = sch.split(
        chunk, factors=[None, steps.largest_divisor(chunks, UNROLLED_STEPS)]
    )
    together = match.extent(sch, inner_chunk)
    for loop in (outer_chunk, *reversed(outer)):
        if together * match.extent(sch, loop) > UNROLLED_STEPS:
            break
        together *= match.extent(sch, loop)
        sch.unroll(loop)
    for loop in (inner_chunk, lane):
        sch.unroll(loop)
    inner = list(sch.get_loops(sums))[-1]
    sch.set_scope(sums, 0, "local")
    start = sch.decompose_reduction(sums, (*outer, outer_chunk)[0])
    for loop in list(sch.get_loops(start))[depth:]:
        sch.unroll(loop)
    sch.tensorize(inner, name)
