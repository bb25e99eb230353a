"""What LLVM's x86 processor names imply, and what Linux calls the same features.

Only features that LLVM's code generator may use by itself are listed (and that the baseline
x86-64, which is SSE2, lacks). The rows are compared with LLVM's own tables by a test.
"""

from __future__ import annotations

# LLVM feature name -> flag in /proc/cpuinfo (Linux, arch/x86/include/asm/cpufeatures.h).
CPUINFO_FLAGS = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "sse4a": "sse4a",
    "popcnt": "popcnt",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "lzcnt": "abm",
    "movbe": "movbe",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512ifma": "avx512ifma",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avx512vp2intersect": "avx512_vp2intersect",
    "gfni": "gfni",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
    "avxvnni": "avx_vnni",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
    "amx-fp16": "amx_fp16",
}
X86_FEATURES = frozenset(CPUINFO_FLAGS)

_V1: frozenset[str] = frozenset()
_V2 = _V1 | {"sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"}
_V3 = _V2 | {"avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_ICELAKE = _V4 | {
    *("avx512vnni", "avx512vbmi", "avx512vbmi2", "avx512ifma", "avx512bitalg"),
    *("avx512vpopcntdq", "gfni", "vaes", "vpclmulqdq"),
}
_SAPPHIRE_RAPIDS = _ICELAKE | {
    *("avx512bf16", "avx512fp16", "avxvnni", "amx-tile", "amx-int8", "amx-bf16"),
}
_ZNVER2 = _V3 | {"sse4a"}
_ZNVER3 = _ZNVER2 | {"vaes", "vpclmulqdq"}
_ZNVER4 = _ZNVER3 | _ICELAKE | {"avx512bf16"}

# psABI levels from the lowest to the highest, then processors.
X86_LEVELS = {"x86-64": _V1, "x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
X86_CPUS = {
    **X86_LEVELS,
    "haswell": _V3,
    "broadwell": _V3,
    "skylake": _V3,
    "skylake-avx512": _V4,
    "cascadelake": _V4 | {"avx512vnni"},
    "cooperlake": _V4 | {"avx512vnni", "avx512bf16"},
    "icelake-server": _ICELAKE,
    "sapphirerapids": _SAPPHIRE_RAPIDS,
    "emeraldrapids": _SAPPHIRE_RAPIDS,
    "graniterapids": _SAPPHIRE_RAPIDS | {"amx-fp16"},
    "znver1": _ZNVER2,
    "znver2": _ZNVER2,
    "znver3": _ZNVER3,
    "znver4": _ZNVER4,
    "znver5": _ZNVER4 | {"avxvnni", "avx512vp2intersect"},
}

# One feature that is switched on or off takes these with it, as in LLVM's X86.td.
_DIRECTLY_NEEDED = {
    "ssse3": ("sse3",),
    "sse4.1": ("ssse3",),
    "sse4.2": ("sse4.1",),
    "sse4a": ("sse3",),
    "avx": ("sse4.2",),
    "avx2": ("avx",),
    "fma": ("avx",),
    "f16c": ("avx",),
    "vaes": ("avx2",),
    "vpclmulqdq": ("avx",),
    "avxvnni": ("avx2",),
    "avx512f": ("avx2", "fma", "f16c"),
    "avx512bw": ("avx512f",),
    "avx512cd": ("avx512f",),
    "avx512dq": ("avx512f",),
    "avx512vl": ("avx512f",),
    "avx512vnni": ("avx512f",),
    "avx512vbmi": ("avx512bw",),
    "avx512vbmi2": ("avx512bw",),
    "avx512ifma": ("avx512f",),
    "avx512bitalg": ("avx512bw",),
    "avx512vpopcntdq": ("avx512f",),
    "avx512bf16": ("avx512bw",),
    "avx512fp16": ("avx512bw",),
    "avx512vp2intersect": ("avx512f",),
    "amx-int8": ("amx-tile",),
    "amx-bf16": ("amx-tile",),
    "amx-fp16": ("amx-tile",),
}


def needed_by(feature: str) -> frozenset[str]:
    """Return `feature` and all that it stands on."""
    below = (needed_by(needed) for needed in _DIRECTLY_NEEDED.get(feature, ()))
    return frozenset({feature}).union(*below)


def apply_feature_flags(implied: frozenset[str], flags: tuple[str, ...]) -> frozenset[str]:
    """Return `implied` after the ``+name`` and ``-name`` flags, in order, as LLVM reads them."""
    features = implied
    for flag in flags:
        name = flag[1:]
        if flag.startswith("+"):
            features |= needed_by(name)
        else:
            features = frozenset(kept for kept in features if name not in needed_by(kept))
    return features
