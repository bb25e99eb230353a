"""CUDA source to PTX with NVIDIA's compiler as a library, where there is no nvcc. No TVM here.

It comes as a Python package (``nvidia-cuda-nvrtc``) or with the CUDA toolkit.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from compiler.errors import ToolchainError

_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2")
# What TVM's sources include with NVRTC, which has no headers of its own, as far as they use it.
_HEADERS = {
    b"cuda/std/cstdint": b"""
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
namespace cuda { namespace std {
using ::int8_t; using ::uint8_t; using ::int16_t; using ::uint16_t;
using ::int32_t; using ::uint32_t; using ::int64_t; using ::uint64_t;
} }
""",
    b"math_constants.h": b"""
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#define CUDART_INF __longlong_as_double(0x7ff0000000000000ULL)
#define CUDART_NAN __longlong_as_double(0xfff8000000000000ULL)
""",
    b"cuda/std/type_traits": b"""
namespace cuda { namespace std {
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <class A> struct is_integral; /* named by the sources, not used */
template <class A> struct is_signed;
template <class A> struct is_unsigned;
template <class A> struct is_floating_point;
template <bool, class A = void> struct enable_if {};
template <class A> struct enable_if<true, A> { using type = A; };
template <bool, class A, class B> struct conditional { using type = A; };
template <class A, class B> struct conditional<false, A, B> { using type = B; };
} }
""",
}


def find_nvrtc() -> ctypes.CDLL | None:
    """Return the library, None if there is none."""
    for name in (*_in_wheels(), *_NAMES):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _in_wheels() -> list[str]:
    found: list[str] = []
    for folder in sys.path:
        libraries = Path(folder).glob("nvidia/*/lib/libnvrtc.so.*")
        found += [str(library) for library in sorted(libraries)]
    return found


def nvrtc_version(nvrtc: ctypes.CDLL) -> str:
    """Return what the library says of itself: "NVRTC 13.0"."""
    major, minor = c_int(), c_int()
    nvrtc.nvrtcVersion(byref(major), byref(minor))
    return f"NVRTC {major.value}.{minor.value}"


def compile_ptx(nvrtc: ctypes.CDLL, source: str, virtual_arch: str) -> bytes:
    """Return PTX for ``compute_80`` and newer, ended by the zero that cuModuleLoadData looks for.

    Raises:
        ToolchainError: the source is refused.
    """
    program = c_void_p()
    text, name = c_char_p(source.encode()), c_char_p(b"kernels.cu")
    count = len(_HEADERS)
    texts, names = (c_char_p * count)(*_HEADERS.values()), (c_char_p * count)(*_HEADERS)
    _check(nvrtc, nvrtc.nvrtcCreateProgram(byref(program), text, name, count, texts, names))
    try:
        options = [f"--gpu-architecture={virtual_arch}".encode(), b"--std=c++17"]
        array = (c_char_p * len(options))(*options)
        if nvrtc.nvrtcCompileProgram(program, len(options), array):
            raise _refused(_text(nvrtc, program, "ProgramLog").decode(errors="replace"))
        return _text(nvrtc, program, "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(byref(program))


def _text(nvrtc: ctypes.CDLL, program: c_void_p, what: str) -> bytes:
    """What ``nvrtcGet<what>`` gives, its zero at the end included."""
    size = c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return bytes(text.raw)


def _check(nvrtc: Any, error: int) -> None:
    if error:
        nvrtc.nvrtcGetErrorString.restype = c_char_p
        raise _refused(nvrtc.nvrtcGetErrorString(error).decode())


def _refused(why: str) -> ToolchainError:
    return ToolchainError(
        "NVRTC failed on kernels.cu",
        why="\n       ".join(line for line in why.splitlines()[:8] if line.strip("\0 ")),
        fix="install nvcc (`pip install nvidia-cuda-nvcc`), which says more",
    )
