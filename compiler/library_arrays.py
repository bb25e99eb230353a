"""The user's arrays: checked against the model, and as pointers."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

import numpy as np

from compiler.artifact.manifest import TensorRecord
from compiler.errors import InputError
from compiler.program import Quantization


@cache
def _array_dtype(dtype: str) -> np.dtype:
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of an input or output, and what its integers stand for."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    quantization: Quantization | None = None

    @property
    def array_dtype(self) -> np.dtype:
        """NumPy knows no bfloat16: such an array holds the bits."""
        return _array_dtype(self.dtype)


def tensor_specs(records: Sequence[TensorRecord]) -> tuple[TensorSpec, ...]:
    """Return what the manifest says of inputs or outputs, without their C side."""
    return tuple(
        TensorSpec(name=r.name, dtype=r.dtype, shape=r.shape, quantization=r.quantization)
        for r in records
    )


def checked_inputs(
    specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Return the arrays in the order of `specs`, dense; one that is not is copied.

    Raises:
        InputError: a name is missing or unknown, or a dtype or shape is not the model's.
    """
    known = [spec.name for spec in specs]
    for name in inputs:
        if name not in known:
            raise _unknown(name, known)
    return [_checked(spec, inputs) for spec in specs]


def pointers(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    """Return a C array of the arrays' addresses."""
    return (ctypes.c_void_p * len(arrays))(*map(_address, arrays))


def _address(array: np.ndarray) -> int:
    """Where the elements are. The buffer gives it in a sixth of the time that NumPy takes."""
    if array.flags.carray and array.nbytes:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return int(array.__array_interface__["data"][0])  # read-only, or empty


def _checked(spec: TensorSpec, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    if spec.name not in inputs:
        raise InputError(
            f"input `{spec.name}` is missing",
            why="the model needs all of its inputs",
            fix=f"add an array of {_described(spec.dtype, spec.shape)}",
        )
    array = np.asarray(inputs[spec.name])
    if array.dtype != spec.array_dtype or array.shape != spec.shape:
        raise InputError(
            f"input `{spec.name}` is {_described(str(array.dtype), array.shape)}",
            why=f"the model was compiled for {_described(spec.dtype, spec.shape)}",
            fix=_way_out(spec, array),
        )
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _unknown(name: str, known: Sequence[str]) -> InputError:
    nearest = get_close_matches(name, known, n=1, cutoff=0.4)
    return InputError(
        f"the model has no input `{name}`",
        why=f"its inputs are: {', '.join(known) or '(none)'}",
        fix=f"did you mean `{nearest[0]}`?" if nearest else "use one of these names",
    )


def _described(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _way_out(spec: TensorSpec, array: np.ndarray) -> str:
    if array.dtype != spec.array_dtype:
        return f"convert it, for example with array.astype({spec.array_dtype.name!r})"
    if array.ndim != len(spec.shape):  # no model is compiled for another rank
        return "give it that shape"
    sizes = "x".join(map(str, array.shape))
    return f"give it that shape, or compile the model with --shape {spec.name}={sizes}"
