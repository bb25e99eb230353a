"""Depthwise convolution of blocked data on a microcontroller with vectors: channels in lanes."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.blocked_depthwise_conv2d import sum_taps_in_registers
from schedules.fused import FusedSum, fused_sum

# Padded rows that are made together may take this part of what the kernel reads and writes.
SCRATCH_SHARE = 16
# Beside the sums: the weights of a tap, an input, and one that is loaded ahead.
OTHER_REGISTERS = 3


def vector_depthwise_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Pad some rows of a block of channels, then sum all taps of a run of columns in registers.

    Matches: one block of role BLOCKED_DEPTHWISE_CONV2D, padding before it, element-wise after it.
    before: pad;  for n, c, y, x, lane: for ky, kx: acc;   for n, c, y, x, lane: epilogue
    after:  for n, c, y/rows: (pad rows; for y, x/tile: (unrolled ky, kx, x: vectorized lane: acc;
              for x: vectorized lane: epilogue))
    """
    kernel = fused_sum(func, role=roles.BLOCKED_DEPTHWISE_CONV2D, before=roles.PAD)
    if kernel is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    _, _, row, column, lane = sch.get_loops(epilogue)
    columns, taps = match.extent(sch, column), match.axis_extents(sch, conv)[-1]
    together = match.extent(sch, row) if pad is None else _rows_together(kernel)
    chunk, row = sch.split(row, factors=[None, together])
    tile = choose_columns(columns, taps, spec.vector.register_count)
    outer_column, inner_column = sch.split(column, factors=[None, tile])
    steps.mark_tails(sch, outer_column)
    depth = len(sch.get_loops(epilogue)) - 2
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    if pad is not None:
        steps.pad_rows(sch, pad, chunk)
    sch.vectorize(lane)
    sch.unroll(inner_column)
    sum_taps_in_registers(sch, conv, depth)


def _rows_together(kernel: FusedSum) -> int:
    """Of a plane's rows, how many share padded ones: neighbours read the same rows."""
    sch, pad = kernel.sch, kernel.before
    _, _, rows, _, _, kernel_rows, _ = match.axis_extents(sch, kernel.main)
    padded_rows = match.axis_extents(sch, pad)[2]
    read_and_written = match.written_bytes(sch, kernel.epilogue) * 2
    row_bytes = match.written_bytes(sch, pad) // match.leading_size(sch, pad, axes=3)
    fitting = read_and_written // SCRATCH_SHARE // row_bytes
    stride = max(1, (padded_rows - kernel_rows) // max(1, rows - 1))
    return steps.largest_divisor(rows, max(1, (fitting - kernel_rows) // stride + 1))


def choose_columns(columns: int, taps: int, registers: int) -> int:
    """Return how many columns are summed together: those with the fewest instructions for a row.

    A row of taps loads its weights and the inputs of all columns and multiplies each with each.

    Args:
        columns: of the output in a row.
        taps: of the kernel in a row.
    """
    most = max(1, registers - OTHER_REGISTERS)
    return min(range(1, min(columns, most) + 1), key=lambda c: _instructions(c, columns, taps))


def _instructions(tile: int, columns: int, taps: int) -> tuple[int, int]:
    whole, rest = divmod(columns, tile)
    # A last tile that is smaller needs code of its own, which takes flash: it counts twice.
    return whole * _step(tile, taps) + (2 * _step(rest, taps) if rest else 0), tile


def _step(tile: int, taps: int) -> int:
    return tile * taps + taps + tile + taps - 1
