"""onnxruntime's product with weights of few bits (com.microsoft MatMulNBits) as ONNX has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

BITS = (2, 4, 8)  # that a byte holds whole numbers of


def written_out_product(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> list[onnx.NodeProto] | None:
    """As MatMul with constant weights, and Add of the bias; None if that is not what it is.

    Weights that are computed, in an order of their own (``g_idx``) or of other widths stay, and
    are refused later.
    """
    from onnx import helper, numpy_helper

    given: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    data, packed, scales, zeros, order, bias = [*node.input, "", "", ""][:6]
    bits = int(given.get("bits", 4))
    known = all(name in constants for name in (packed, scales, zeros) if name)
    if not known or order or bits not in BITS:
        return None
    reals = _reals(
        numpy_helper.to_array(constants[packed]),
        numpy_helper.to_array(constants[scales]),
        numpy_helper.to_array(constants[zeros]) if zeros else None,
        columns=given["N"],
        depth=given["K"],
        bits=bits,
        block=given["block_size"],
    )
    if reals is None:
        return None
    weight = f"{node.output[0]}/weight"
    model.graph.initializer.append(numpy_helper.from_array(reals, weight))
    result = f"{node.output[0]}/product" if bias else node.output[0]
    made = [helper.make_node("MatMul", [data, weight], [result], node.name)]
    if bias:
        made.append(helper.make_node("Add", [result, bias], [node.output[0]], f"{node.name}/Add"))
    return made


def _reals(
    packed: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray | None,
    *,
    columns: int,
    depth: int,
    bits: int,
    block: int,
) -> np.ndarray | None:
    """``[K, N]`` from ``packed[N, K/block, block * bits / 8]``, the lowest bits first.

    Zero points are packed likewise, column by column, or real; the middle if there are none.
    """
    blocks = -(-depth // block)
    numbers = _unpacked(packed.reshape(columns, -1), bits)[:, : blocks * block]
    around = np.full((columns, blocks), 2 ** (bits - 1), np.float32)
    if zeros is not None and zeros.dtype == np.uint8:
        around = _unpacked(zeros.reshape(columns, -1), bits)[:, :blocks].astype(np.float32)
    elif zeros is not None:
        around = zeros.reshape(columns, blocks).astype(np.float32)
    if numbers.shape[1] != blocks * block or scales.dtype != np.float32:
        return None
    centred = numbers.reshape(columns, blocks, block) - around[:, :, np.newaxis]
    scaled = centred * scales.reshape(columns, blocks, 1)
    return np.ascontiguousarray(scaled.reshape(columns, -1)[:, :depth].T.astype(np.float32))


def _unpacked(rows: np.ndarray, bits: int) -> np.ndarray:
    """Each byte's numbers side by side, as float32."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (rows[:, :, np.newaxis] >> shifts) & np.uint8(2**bits - 1)
    return numbers.reshape(len(rows), -1).astype(np.float32)
