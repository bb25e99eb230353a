"""Turn inputs whose value the user names into constants (`--value sr=16000`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from compiler.errors import ModelError
from compiler.onnx_import.names import nearest
from compiler.onnx_import.shapes import declared_dims

if TYPE_CHECKING:
    import numpy as np
    import onnx

Number = float | int | bool


def pin_values(model: onnx.ModelProto, values: Mapping[str, Number]) -> onnx.ModelProto:
    """Return the model with the named inputs replaced by initializers of the input's dtype.

    Raises:
        ModelError: no such input, the input has more than one element, or the dtype cannot
            hold the value.
    """
    import onnx
    from onnx import numpy_helper

    inputs = {value.name: value for value in model.graph.input}
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for name, number in values.items():
        if name not in inputs:
            raise ModelError(
                f"--value {name}: the model has no input `{name}`",
                why="only an input of the model can be pinned to a value",
                fix=nearest(name, inputs),
            )
        out.graph.initializer.append(numpy_helper.from_array(_array(inputs[name], number), name))
    kept = [value for value in out.graph.input if value.name not in values]
    del out.graph.input[:]
    out.graph.input.extend(kept)
    return out


def _array(value: onnx.ValueInfoProto, number: Number) -> np.ndarray:
    """Return the number as an array of the input's dtype, of rank 0 or with one element."""
    import numpy as np
    from onnx import helper

    dims = declared_dims(value)
    if any(isinstance(dim, int) and dim != 1 for dim in dims or ()):
        raise ModelError(
            f"--value {value.name}: the input has more than one element",
            why=f"its shape is [{', '.join('?' if d is None else str(d) for d in dims or ())}]; "
            "a value stands for a scalar or a tensor of one element",
            fix="leave it an input and pass the array at run time",
        )
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    try:
        array = np.full((1,) * len(dims or ()), number, dtype=dtype)
    except (OverflowError, ValueError, TypeError) as cause:
        raise _not_representable(value.name, number, str(dtype)) from cause
    if dtype.kind in "iub" and float(array.reshape(())) != float(number):
        raise _not_representable(value.name, number, str(dtype))
    return array


def _not_representable(name: str, number: Number, dtype: str) -> ModelError:
    return ModelError(
        f"--value {name}={number}: not a value of type {dtype}",
        why=f"the input `{name}` holds {dtype}",
        fix=f"give a number that {dtype} can hold exactly",
    )
