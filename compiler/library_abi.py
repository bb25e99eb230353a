"""``runtime/tunesmith.h`` for ctypes: the descriptor of a model, options, error codes."""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_void_p,
)

ABI_VERSION = 1

OK = 0
E_CPU = 3
E_MEMORY = 4
E_DEVICE = 5
E_BUSY = 6

POINTERS = POINTER(c_void_p)


class Tensor(Structure):
    _fields_ = (
        ("name", c_char_p),
        ("dtype", c_int32),
        ("rank", c_int32),
        ("shape", POINTER(c_int64)),
        ("size_bytes", c_size_t),
        ("element_bytes", c_size_t),
        ("quantized", c_int32),
        ("zero_point", c_int32),
        ("scale", c_double),
    )


class Region(Structure):
    _fields_ = (("name", c_char_p), ("size_bytes", c_size_t), ("alignment", c_size_t))


class Options(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("threads", c_int32),
        ("spin_us", c_int32),
        ("parallel_for", c_void_p),
        ("parallel_context", c_void_p),
        ("device", c_int32),
        ("stream", c_void_p),
    )


class Model(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("abi_version", c_int32),
        ("call_count", c_int32),
        ("name", c_char_p),
        ("target", c_char_p),
        ("fingerprint", c_char_p),
        ("input_count", c_int32),
        ("output_count", c_int32),
        ("region_count", c_int32),
        ("reserved", c_int32),
        ("inputs", POINTER(Tensor)),
        ("outputs", POINTER(Tensor)),
        ("regions", POINTER(Region)),
        ("weight_bytes", c_size_t),
        ("worker_scratch_bytes", c_size_t),
        ("cpu_supported", CFUNCTYPE(c_int)),
        ("missing_cpu_feature", CFUNCTYPE(c_char_p)),
        ("error_string", CFUNCTYPE(c_char_p, c_int)),
        ("run", CFUNCTYPE(c_int, POINTERS, POINTERS, POINTERS)),
        ("run_calls", CFUNCTYPE(c_int, POINTERS, POINTERS, POINTERS, c_int32, c_int32)),
        ("create", CFUNCTYPE(c_int, POINTER(c_void_p), POINTER(Options))),
        ("session_run", CFUNCTYPE(c_int, c_void_p, POINTERS, POINTERS)),
        ("destroy", CFUNCTYPE(None, c_void_p)),
    )


def open_model(path: str, prefix: str) -> Model:
    """Return the descriptor in the shared library at `path`.

    The library stays loaded until the process ends. Nothing in it runs but the function that
    returns the descriptor, which every CPU of the architecture can.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it has no model of that prefix.
        ValueError: it has another ABI version.
    """
    library = ctypes.CDLL(path)
    describe = getattr(library, f"{prefix}_model")
    describe.restype = POINTER(Model)
    model: Model = describe().contents
    if model.abi_version != ABI_VERSION or model.struct_size < ctypes.sizeof(Model):
        raise ValueError(f"its ABI version is {model.abi_version}, known is {ABI_VERSION}")
    return model
