"""Matrix multiplication over panels of the right operand, one vector wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

from tvm import relax, te, tirx

from compiler.stages.constants import constant_array
from compiler.stages.operators.bfloat_matmul import LEAST_LANES, bfloat_matmul, pack_pairs
from compiler.stages.operators.channel_blocks import narrowest_lanes
from compiler.stages.operators.matrix_panels import (
    flat_index,
    pack_right,
    panel_count,
    spread_index,
)
from schedules import roles


@dataclass(frozen=True, kw_only=True, slots=True)
class MatmulSignature:
    """``out[B, M, N] = a[B, M, K] * b[B or 1, K, N]``, leading axes flattened into B."""

    batch: int
    m: int
    n: int
    k: int
    shared_right: bool  # one right operand for the whole batch


def _matrix_and_row(
    indices: Sequence[Any], shape: Sequence[int], sig: MatmulSignature
) -> tuple[Any, Any]:
    """Which matrix of the batch, and which of its rows, an output row is.

    A batch has M as its last axis, so there is no division by M, which would hide from TVM that a
    tile of the output is a tile of the product.
    """
    if sig.batch == 1:
        return 0, flat_index(indices, shape)
    return flat_index(indices[:-1], shape[:-1]), indices[-1]


def packed_matmul(
    left: te.Tensor, panels: te.Tensor, sig: MatmulSignature, out_shape: tuple[int, ...]
) -> te.Tensor:
    """``out`` of `out_shape`, seen as [B, M, N], from ``panels[B or 1, N/L, K, L]``.

    The operands keep the ranks that the graph gives them, so that what follows can be fused.
    """
    right_batch, count, _, lanes = (int(extent) for extent in panels.shape)
    left_rows = [int(extent) for extent in left.shape[:-1]]
    k = te.reduce_axis((0, sig.k), "k")

    def accumulate(b: Any, m: Any, panel: Any, lane: Any) -> Any:
        row = spread_index(b * sig.m + m, left_rows)
        right = panels[b if right_batch > 1 else 0, panel, k, lane]
        return te.sum(left[(*row, k)] * right, axis=k)

    blocked = te.compute(
        (sig.batch, sig.m, count, lanes),
        accumulate,
        name="matmul",
        attrs={roles.ROLE: roles.MATMUL},
    )

    def plain(*indices: Any) -> Any:
        b, m = _matrix_and_row(indices[:-1], out_shape[:-1], sig)
        column = indices[-1]
        return blocked[b, m, column // lanes, column % lanes]

    return te.compute(out_shape, plain, name="unpack", attrs={roles.ROLE: roles.UNPACK})


def matmul_with_pack(
    left: te.Tensor,
    right: te.Tensor,
    sig: MatmulSignature,
    out_shape: tuple[int, ...],
    lanes: int,
) -> te.Tensor:
    """As `packed_matmul`, with ``right[..., K, N]`` packed into panels on the way."""
    batches = [int(extent) for extent in right.shape[:-2]]
    right_batch = 1 if sig.shared_right else sig.batch

    def element(b: Any, panel: Any, k: Any, lane: Any) -> Any:
        column = panel * lanes + lane
        source = right[(*spread_index(b, batches), k, column)]
        if sig.n == panel_count(sig.n, lanes) * lanes:
            return source
        return tirx.if_then_else(column < sig.n, source, tirx.const(0.0, str(right.dtype)))

    panels = te.compute(
        (right_batch, panel_count(sig.n, lanes), sig.k, lanes),
        element,
        name="pack",
        attrs={roles.ROLE: roles.PACK},
    )
    return packed_matmul(left, panels, sig, out_shape)


def matmul_signature(call: relax.Call) -> MatmulSignature | None:
    """Return the signature of a float32 matmul that fits [B, M, K] x [B or 1, K, N], else None."""
    left, right = call.args[0].ty, call.args[1].ty
    if str(left.dtype) != "float32" or str(right.dtype) != "float32":
        return None
    left_shape = [int(extent) for extent in left.shape.values]
    right_shape = [int(extent) for extent in right.shape.values]
    if len(left_shape) < 2 or len(right_shape) < 2:
        return None
    left_batch, right_batch = prod(left_shape[:-2]), prod(right_shape[:-2])
    columns, depth = right_shape[-1], right_shape[-2]
    if depth == 0 or 0 in left_shape or columns == 0:
        return None
    if right_batch == 1:
        rows = left_batch * left_shape[-2]
        return MatmulSignature(batch=1, m=rows, n=columns, k=depth, shared_right=True)
    if left_shape[:-2] != right_shape[:-2]:
        return None
    return MatmulSignature(
        batch=left_batch, m=left_shape[-2], n=columns, k=depth, shared_right=False
    )


def matmul_lanes(sig: MatmulSignature, vector_lanes: int, *, by_scalar: bool = False) -> int:
    """Width of a panel: the target's vector, or less where there are few columns.

    Args:
        by_scalar: left elements are in general registers; sums of several vectors share one, and a
            panel of all of them is read in one stream. Rows share panels: then it is narrower.
    """
    vectors = (4, 2) if sig.m == 1 else (2,)
    if by_scalar:
        for lanes in (vector_lanes * count for count in vectors):
            if sig.n % lanes == 0:
                return lanes
    return narrowest_lanes(sig.n, vector_lanes)


def legalize_matmul(
    builder: relax.BlockBuilder,
    call: relax.Call,
    *,
    vector_lanes: int,
    otherwise: Any,
    by_scalar: bool = False,
    bfloats: bool = False,
) -> relax.Expr:
    """Lower ``relax.matmul`` to a packed kernel; `otherwise` legalizes what does not fit.

    Args:
        bfloats: products with constant right operands are of bfloat16.
    """
    sig = matmul_signature(call)
    if sig is None:
        return otherwise(builder, call)
    lanes = matmul_lanes(sig, vector_lanes, by_scalar=by_scalar)
    left, right = call.args
    shape = tuple(int(extent) for extent in call.ty.shape.values)
    weight = constant_array(right)
    if bfloats and weight is not None and sig.shared_right and lanes >= LEAST_LANES:
        pairs = relax.const(pack_pairs(weight.reshape(sig.k, sig.n), lanes), "bfloat16")
        product = partial(bfloat_matmul, out_shape=shape)
        return builder.call_te(product, left, pairs, primfunc_name_hint="bfloat_matmul")
    if weight is not None and sig.shared_right:
        panels = relax.const(pack_right(weight.reshape(sig.k, sig.n), lanes))
        packed = partial(packed_matmul, sig=sig, out_shape=shape)
        return builder.call_te(packed, left, panels, primfunc_name_hint="matmul")
    packing = partial(matmul_with_pack, sig=sig, out_shape=shape, lanes=lanes)
    return builder.call_te(packing, left, right, primfunc_name_hint="batch_matmul")
