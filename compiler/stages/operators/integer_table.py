"""Functions of one small integer as tables: 256 numbers that are known at compile time."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from compiler.stages.operators.requantize import Bounds, rounded


def lookup(data: te.Tensor, table: te.Tensor) -> te.Tensor:
    """``table[q - least]`` of each integer, where `least` is the smallest of the data's type."""
    least = -128 if str(data.dtype) == "int8" else 0

    def element(*indices: Any) -> Any:
        return table[data[indices].astype("int32") - tirx.const(least, "int32")]

    return te.compute(data.shape, element, name="lookup")


def integer_softmax(data: te.Tensor, powers: te.Tensor, *, inverse: float, to: Bounds) -> te.Tensor:
    """Softmax of each row of ``data[M, N]``: ``powers[most - q] / sum``, one division for a row.

    Args:
        powers: int32 ``[256]``, multiples of ``exp(-scale * distance)``; N of them fit 32 bits.
        inverse: one over the scale of the result.
    """
    rows, columns = (int(extent) for extent in data.shape)
    k, other = te.reduce_axis((0, columns), "k"), te.reduce_axis((0, columns), "k")
    most = te.compute((rows,), lambda m: te.max(data[m, k].astype("int32"), axis=k), name="most")
    power = te.compute(
        (rows, columns), lambda m, n: powers[most[m] - data[m, n].astype("int32")], name="power"
    )
    total = te.compute((rows,), lambda m: te.sum(power[m, other], axis=other), name="total")
    share = te.compute(
        (rows,),
        lambda m: tirx.const(inverse, "float32") / total[m].astype("float32"),
        name="share",
    )
    return te.compute(
        (rows, columns),
        lambda m, n: rounded(power[m, n].astype("float32") * share[m], to),
        name="normal",
    )
