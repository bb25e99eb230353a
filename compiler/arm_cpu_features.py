"""What LLVM's names of 64-bit Arm processors imply, and what Linux calls the same features.

Only features that LLVM's code generator may use by itself are listed, beyond Armv8.0-A with NEON.
The rows are compared with LLVM's own tables by a test.
"""

from __future__ import annotations

# LLVM feature name -> word in the line `Features` of /proc/cpuinfo
# (Linux, Documentation/arch/arm64/elf_hwcaps.rst).
AARCH64_CPUINFO = {
    "bf16": "bf16",
    "complxnum": "fcma",
    "dotprod": "asimddp",
    "fullfp16": "asimdhp",
    "i8mm": "i8mm",
    "lse": "atomics",
    "rdm": "asimdrdm",
    "sha3": "sha3",
    "sve": "sve",
    "sve2": "sve2",
}
AARCH64_FEATURES = frozenset(AARCH64_CPUINFO)

_V8: frozenset[str] = frozenset()
_V8_2 = _V8 | {"dotprod", "fullfp16", "lse", "rdm"}
_V8_4 = _V8_2 | {"complxnum"}
AARCH64_CPUS: dict[str, frozenset[str]] = {
    "generic": _V8,
    "cortex-a53": _V8,
    "cortex-a55": _V8_2,
    "cortex-a57": _V8,
    "cortex-a72": _V8,
    "cortex-a73": _V8,
    "cortex-a76": _V8_2,
    "cortex-a78": _V8_2,
    "neoverse-n1": _V8_2,
    "neoverse-v1": _V8_4 | {"bf16", "i8mm", "sha3", "sve"},
    "neoverse-n2": _V8_4 | {"bf16", "i8mm", "sve", "sve2"},
    "apple-m1": _V8_4 | {"sha3"},
}


def aarch64_features(cpu: str, flags: tuple[str, ...]) -> frozenset[str]:
    """Return the features of `cpu` after each ``+name`` and ``-name`` of `flags`, in order."""
    features = set(AARCH64_CPUS[cpu])
    for flag in flags:
        (features.add if flag[0] == "+" else features.discard)(flag[1:])
    return frozenset(features)
