"""How large the tiles of a matrix product are, from the product's extents and the GPU's facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from compiler.target_spec import GpuSpec, Precision

# What multiplies two factors: of floats as `--precision` says; of small integers four at a time
# (`dp4a`), tensor cores (`int8`), or one by one in 32 bits (`int32`).
IntegerProduct = Literal["int32", "dp4a", "int8"]
Multiplication = Precision | IntegerProduct

# Threads of a block, as rows x columns: 256 hide latency, and a warp reads 16 columns together.
THREAD_ROWS, THREAD_COLUMNS = 16, 16
# Sums of one thread: 8 x 8 accumulators + 16 operands leave room in 255 registers.
SUMS = (1, 2, 4, 8)
# A step in depth: 16 x (128 + 128) floats are 16 KB of shared memory, a third of what any GPU has.
DEPTH = 16
DEPTHS = (8, 16, 32)  # what a tuner may choose from: at most 32 KB
# Reading an operand from shared memory costs about as much as two multiply-adds: 32 banks of
# 4 bytes a cycle feed 64 to 128 lanes. An estimate, not measured.
_LOAD_COST = 2
# Tensor cores: a warp's rows come in pairs of 8, its columns in pairs of 4 (`tensor_cores.py`).
TENSOR_SUMS = (2, 4, 8)
TENSOR_DEPTH: Mapping[Precision, int] = {"tf32": 16, "fp16": 32}  # as many bytes as DEPTH floats
# A step in depth of integers, in bytes; the shorter where it leaves less of the last step empty.
BYTE_DEPTHS = (32, 64)
# They multiply 8 times as fast as the other units (A100 data sheet: 156 and 19.5 TFLOP/s for
# TF32 and float32), and their operands are read no faster.
_TENSOR_SPEED = 8
_TENSOR_LOAD_COST = _TENSOR_SPEED * _LOAD_COST


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductTile:
    """Rows and columns that one block of threads computes; `depth` is one step of the sum."""

    rows: int
    columns: int
    depth: int

    @property
    def thread_rows(self) -> int:
        """Rows of one thread's sums."""
        return self.rows // THREAD_ROWS

    @property
    def thread_columns(self) -> int:
        return self.columns // THREAD_COLUMNS


def product_tile(
    batch: int, rows: int, columns: int, gpu: GpuSpec, precision: Precision = "float32"
) -> ProductTile:
    """Return the tile that needs the least estimated time for ``[batch, rows, columns]``.

    Args:
        precision: that of the factors; tensor cores compute all but float32.
    """
    by_tensor_cores = precision != "float32"
    (best_rows, best_columns), _ = _fastest(batch, rows, columns, gpu, by_tensor_cores)
    return ProductTile(
        rows=THREAD_ROWS * best_rows,
        columns=THREAD_COLUMNS * best_columns,
        depth=TENSOR_DEPTH.get(precision, DEPTH),
    )


def integer_product_tile(
    extents: tuple[int, int, int], depth: int, gpu: GpuSpec
) -> tuple[IntegerProduct, ProductTile]:
    """Return what multiplies bytes in the least estimated time, and its tile.

    Tensor cores multiply as much faster than `dp4a` as with TF32 than with float32 (A100: 624 and
    78 TOPS), but their least tile is four times as large.

    Args:
        extents: batch, rows and columns of the product.
        depth: products in each sum.
    """
    step = min(BYTE_DEPTHS, key=lambda bytes_: (-(-depth // bytes_) * bytes_, -bytes_))
    kinds: tuple[IntegerProduct, ...] = ("int8", "dp4a") if gpu.multiplies_bytes else ("dp4a",)
    best: dict[IntegerProduct, tuple[tuple[int, int], int]] = {
        kind: _fastest(*extents, gpu, kind == "int8") for kind in kinds
    }
    kind = min(kinds, key=lambda one: best[one][1])
    rows, columns = best[kind][0]
    tile = ProductTile(rows=THREAD_ROWS * rows, columns=THREAD_COLUMNS * columns, depth=step)
    return kind, tile


def _fastest(
    batch: int, rows: int, columns: int, gpu: GpuSpec, by_tensor_cores: bool
) -> tuple[tuple[int, int], int]:
    """Rows and columns of a thread's sums that need the least time, and that time.

    In the time that tensor cores need for a product of a thread, and one of its depth.
    """
    load_cost = _TENSOR_LOAD_COST if by_tensor_cores else _LOAD_COST
    choices = TENSOR_SUMS if by_tensor_cores else SUMS

    def cost(sums: tuple[int, int]) -> tuple[int, int]:
        blocks = batch
        for extent, threads, of_thread in zip(
            (rows, columns), (THREAD_ROWS, THREAD_COLUMNS), sums, strict=True
        ):
            blocks *= -(-extent // (threads * of_thread))
        turns = -(-blocks // gpu.sm_count)
        of_block = sums[0] * sums[1] + load_cost * (sums[0] + sums[1])
        return turns * of_block, -sums[0] * sums[1]

    best = min(product(choices, choices), key=cost)
    return best, cost(best)[0] * (1 if by_tensor_cores else _TENSOR_SPEED)
