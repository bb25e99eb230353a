"""Scalars of TIR in C99: types, literals, and the small functions that operators become."""

from __future__ import annotations

import math

import numpy as np

from compiler.errors import UnsupportedError

# bool takes a byte in memory, as in the interface of a library.
C_TYPES = {
    "bool": "uint8_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "float32": "float",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float64": "double",
}
_SUFFIXES = {"float32": "f32", "float64": "f64", "bool": "u8"}


def c_type(dtype: str) -> str:
    """Return the C type of a TIR scalar.

    Raises:
        UnsupportedError: C99 has none: small floats, vectors.
    """
    if dtype not in C_TYPES:
        raise UnsupportedError(
            f"C99 has no type for {dtype}",
            why="kernels for microcontrollers are generated as C",
            fix="use float32 or integers in the model, or choose a target with another code",
        )
    return C_TYPES[dtype]


def stored_type(dtype: str) -> str:
    """The like for what a pointer points to: halves are read as the integers of their bits."""
    return "uint16_t" if dtype == "float16" else c_type(dtype)


def suffix(dtype: str) -> str:
    """``int32`` -> ``i32``: the end of a helper's name."""
    return _SUFFIXES.get(dtype) or dtype.replace("uint", "u").replace("int", "i")


def int_literal(value: int, dtype: str) -> str:
    """A constant expression of at least that type."""
    if dtype == "int64":
        return "INT64_MIN" if value == -(2**63) else f"INT64_C({value})"
    if dtype == "uint64":
        return f"UINT64_C({value})"
    if dtype == "uint32":
        return f"{value}u"
    return "INT32_MIN" if value == -(2**31) else str(value)


def float_literal(value: float, dtype: str) -> str:
    """The exact value: nine digits tell float32 numbers apart, seventeen those of float64."""
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    if dtype == "float32":
        text = _shortest(float(np.float32(value)), 9, single=True)
        return f"{text}f"
    return _shortest(value, 17, single=False)


def _shortest(value: float, digits: int, *, single: bool) -> str:
    for count in range(1, digits + 1):
        text = f"{value:.{count}g}"
        with np.errstate(over="ignore"):  # 3e38 is more than float32 has
            if (float(np.float32(text)) if single else float(text)) == value:
                break
    return text if any(mark in text for mark in ".en") else f"{text}.0"
