"""Matrix products for a GPU, in tiles."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from tvm import relax, te

from compiler.stages.constants import constant_array
from compiler.stages.operators.gpu_product import ProductExtents, tiled_product
from compiler.stages.operators.matmul import MatmulSignature, matmul_signature
from compiler.target_spec import GpuSpec, Precision
from schedules import roles
from schedules.cuda.product_tile import ProductTile, product_tile

# A tile has 16 rows at least: with fewer, most of it would be zeros, and weights are read once.
MOST_ROWS_OF_VECTORS = 4


def gpu_matmul(
    left: te.Tensor,
    right: te.Tensor,
    sig: MatmulSignature,
    out_shape: tuple[int, ...],
    tile: ProductTile,
    precision: Precision = "float32",
) -> te.Tensor:
    """``left[..., M, K] x right[..., K, N]`` of the shape `out_shape`."""
    extents = ProductExtents(batch=sig.batch, rows=sig.m, columns=sig.n, depth=sig.k)
    left_rows = [int(extent) for extent in left.shape[:-1]]
    right_batches = [int(extent) for extent in right.shape[:-2]]

    def of_left(b: Any, row: Any, k: Any) -> Any:
        return left[(*_unflattened(b * sig.m + row, left_rows), k)]

    def of_right(b: Any, column: Any, k: Any) -> Any:
        matrix = 0 if sig.shared_right else b
        return right[(*_unflattened(matrix, right_batches), k, column)]

    sums = tiled_product(of_left, of_right, extents, tile, precision)

    def plain(*indices: Any) -> Any:
        row: Any = 0
        for index, extent in zip(indices[:-1], out_shape[:-1], strict=True):
            row = row * extent + index
        return sums[row // sig.m, row % sig.m, indices[-1]]

    return te.compute(out_shape, plain, name="unpack", attrs={roles.ROLE: roles.UNPACK})


def gpu_vector_matmul(
    left: te.Tensor, right: te.Tensor, sig: MatmulSignature, out_shape: tuple[int, ...]
) -> te.Tensor:
    """``left[..., K] x right[N, K]``, K read along memory in both: for few rows."""
    k = te.reduce_axis((0, sig.k), "k")
    return te.compute(
        out_shape,
        lambda *i: te.sum(left[(*i[:-1], k)] * right[i[-1], k], axis=k),
        name="vector_matmul",
    )


def _unflattened(position: Any, shape: list[int]) -> tuple[Any, ...]:
    """The indices of a place in an array of that shape, its elements counted in order."""
    indices = []
    for axis, extent in enumerate(shape):
        inner = prod(shape[axis + 1 :])
        index = position // inner if inner > 1 else position
        indices.append(index % extent if axis else index)
    return tuple(indices)


def legalize_gpu_matmul(
    builder: relax.BlockBuilder,
    call: relax.Call,
    *,
    gpu: GpuSpec,
    precision: Precision,
    otherwise: Any,
) -> relax.Expr:
    """Lower ``relax.matmul`` to tiles; `otherwise` legalizes what does not fit."""
    sig = matmul_signature(call)
    if sig is None:
        return otherwise(builder, call)
    shape = tuple(int(extent) for extent in call.ty.shape.values)
    weight = constant_array(call.args[1])
    if weight is not None and sig.shared_right and sig.m <= MOST_ROWS_OF_VECTORS:
        by_column = relax.const(np.ascontiguousarray(weight.reshape(sig.k, sig.n).T))
        compute = partial(gpu_vector_matmul, sig=sig, out_shape=shape)
        return builder.call_te(compute, call.args[0], by_column, primfunc_name_hint="matmul")
    if 1 in (sig.m, sig.n):
        return otherwise(builder, call)  # no matrix product: a vector of sums
    tile = product_tile(sig.batch, sig.m, sig.n, gpu, precision)
    compute = partial(gpu_matmul, sig=sig, out_shape=shape, tile=tile, precision=precision)
    return builder.call_te(compute, *call.args, primfunc_name_hint="matmul")
