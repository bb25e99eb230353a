"""Functions that LLVM has no instruction sequence for: calls of the C library's mathematics."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

_SUFFIX = {"float32": "f", "float64": ""}


def legalize_libm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Lower ``relax.NAME(x)`` to an element-wise call of ``NAMEf`` (float64: ``NAME``)."""
    name = call.op.name.removeprefix("relax.")

    def element_wise(data: te.Tensor) -> te.Tensor:
        dtype = str(data.dtype)
        computed = dtype if dtype in _SUFFIX else "float32"
        function = name + _SUFFIX[computed]

        def element(*indices: Any) -> Any:
            value = tirx.Cast(computed, data[indices]) if dtype != computed else data[indices]
            result = tirx.call_pure_extern(computed, function, value)
            return tirx.Cast(dtype, result) if dtype != computed else result

        return te.compute(data.shape, element, name=name)

    return builder.call_te(element_wise, call.args[0], primfunc_name_hint=name)
