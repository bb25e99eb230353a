"""The target `host`: this machine, as Linux describes it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from compiler.arm_cpu_features import AARCH64_CPUINFO
from compiler.cpu_features import CPUINFO_FLAGS, X86_CPUS, X86_LEVELS, needed_by
from compiler.errors import TargetError
from compiler.target_tables import (
    SCHEMA_VERSION,
    CacheSpec,
    CoresSpec,
    LlvmSpec,
    RunnerSpec,
    TargetSpec,
    ToolchainSpec,
    VectorSpec,
)

_CPUINFO = Path("/proc/cpuinfo")
_CPU_FOLDER = Path("/sys/devices/system/cpu")

# (vendor, family, first model, last model, LLVM's name). Sources: LLVM 22
# compiler-rt/lib/builtins/cpu_model/x86.c; Linux arch/x86/include/asm/intel-family.h.
_PROCESSORS = (
    ("AuthenticAMD", 23, 0x30, 0xAF, "znver2"),
    ("AuthenticAMD", 23, 0x00, 0x2F, "znver1"),
    ("AuthenticAMD", 25, 0x10, 0x1F, "znver4"),
    ("AuthenticAMD", 25, 0x60, 0x7F, "znver4"),
    ("AuthenticAMD", 25, 0xA0, 0xAF, "znver4"),
    ("AuthenticAMD", 25, 0x00, 0x5F, "znver3"),
    ("AuthenticAMD", 26, 0x00, 0x7F, "znver5"),
    ("GenuineIntel", 6, 85, 85, "skylake-avx512"),
    ("GenuineIntel", 6, 106, 106, "icelake-server"),
    ("GenuineIntel", 6, 108, 108, "icelake-server"),
    ("GenuineIntel", 6, 143, 143, "sapphirerapids"),
    ("GenuineIntel", 6, 173, 174, "graniterapids"),
    ("GenuineIntel", 6, 207, 207, "emeraldrapids"),
)


def host_target(
    *,
    cpuinfo: Path = _CPUINFO,
    cpu_folder: Path = _CPU_FOLDER,
    machine: str | None = None,
    system: str | None = None,
) -> TargetSpec:
    """Return the spec of this machine. The arguments let a test describe another one.

    Raises:
        TargetError: not Linux on x86-64 or aarch64, or Linux does not tell what is needed.
    """
    machine = machine or platform.machine()
    system = system or platform.system()
    facts = _processor_facts(cpuinfo)
    if system == "Linux" and machine == "x86_64":
        llvm, vector, name = _x86(facts)
    elif system == "Linux" and machine in ("aarch64", "arm64"):
        llvm, vector, name = _aarch64()
    else:
        raise TargetError(
            f"target host: this machine ({system} on {machine}) cannot be described",
            why="`host` is read from /proc and /sys of Linux on x86-64 or aarch64",
            fix="name a target; `tunesmith targets` lists them",
        )
    cache, cache_source = _caches(cpu_folder)
    return TargetSpec(
        schema_version=SCHEMA_VERSION,
        name="host",
        family="cpu",
        source=f"this machine: {name}; {cache_source}",
        llvm=llvm,
        vector=vector,
        cache=cache,
        cores=CoresSpec(count=_core_count(cpu_folder)),
        toolchain=ToolchainSpec(cc=("cc",)),
        runner=RunnerSpec(kind="native"),
    )


def host_cpu_features(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Return the LLVM names of the features that this machine and its kernel offer."""
    facts = _processor_facts(cpuinfo)
    arm = set(facts.get("Features", "").split())
    return _features(facts) | {name for name, flag in AARCH64_CPUINFO.items() if flag in arm}


def _processor_facts(cpuinfo: Path) -> dict[str, str]:
    """Return the lines of the first processor in /proc/cpuinfo; {} if there is no such file."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _features(facts: dict[str, str]) -> frozenset[str]:
    """Return the x86 features that are there with all that they stand on, as LLVM needs them."""
    flags = set(facts.get("flags", "").split())
    listed = frozenset(name for name, flag in CPUINFO_FLAGS.items() if flag in flags)
    return frozenset(name for name in listed if needed_by(name) <= listed)


def _x86(facts: dict[str, str]) -> tuple[LlvmSpec, VectorSpec, str]:
    if not facts.get("flags"):
        raise TargetError(
            "target host: /proc/cpuinfo lists no processor flags",
            why="without them code could be made that this machine does not run",
            fix="mount /proc, or name a target such as x86-64-v3",
        )
    features = _features(facts)
    vendor = facts.get("vendor_id", "unknown vendor")
    family, model = int(facts.get("cpu family", "0")), int(facts.get("model", "0"))
    cpu = _known_processor(vendor, family, model) or _highest_level(features)
    llvm = LlvmSpec(
        triple="x86_64-unknown-linux-gnu",
        cpu=cpu,
        features=_difference(features, X86_CPUS[cpu]),
    )
    return llvm, _x86_vector(features), f"{vendor} family {family} model {model}"


def _known_processor(vendor: str, family: int, model: int) -> str | None:
    for row_vendor, row_family, first, last, name in _PROCESSORS:
        if (vendor, family) == (row_vendor, row_family) and first <= model <= last:
            return name
    return None


def _highest_level(features: frozenset[str]) -> str:
    return [name for name, implied in X86_LEVELS.items() if implied <= features][-1]


def _difference(has: frozenset[str], implied: frozenset[str]) -> tuple[str, ...]:
    """Flags that turn `implied` into `has`; a virtual machine may hide a feature of its CPU.

    The removals come first: LLVM drops with a feature all that stand on it.
    """
    removed = sorted(f"-{name}" for name in implied - has)
    return (*removed, *sorted(f"+{name}" for name in has - implied))


def _x86_vector(features: frozenset[str]) -> VectorSpec:
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= features:
        return VectorSpec(width_bits=512, register_count=32)
    if {"avx2", "fma"} <= features:
        return VectorSpec(width_bits=256, register_count=16)
    return VectorSpec(width_bits=128, register_count=16)


def _aarch64() -> tuple[LlvmSpec, VectorSpec, str]:
    """Armv8.0-A: its 32 registers of 128 bits (NEON) are part of the base architecture."""
    llvm = LlvmSpec(triple="aarch64-unknown-linux-gnu", cpu="generic", features=())
    return llvm, VectorSpec(width_bits=128, register_count=32), "Armv8-A"


def _caches(cpu_folder: Path) -> tuple[CacheSpec, str]:
    """Return the caches of processor 0, and where the numbers come from."""
    sizes: dict[int, int] = {}
    line_bytes = 0
    for index in sorted((cpu_folder / "cpu0" / "cache").glob("index*")):
        kind, level = _line(index / "type"), _line(index / "level")
        if kind in ("Data", "Unified") and level.isdigit():
            sizes[int(level)] = _size_bytes(_line(index / "size"))
            line_bytes = line_bytes or int(_line(index / "coherency_line_size") or 0)
    if not sizes.get(1) or not line_bytes:
        # Linux hides caches in some virtual machines; every x86-64 and Armv8-A server core
        # since 2013 has at least these.
        assumed = CacheSpec(l1d_bytes=32_768, l2_bytes=262_144, l3_bytes=0, line_bytes=64)
        return assumed, "cache sizes not told by Linux, smallest of such machines assumed"
    cache = CacheSpec(
        l1d_bytes=sizes[1],
        l2_bytes=sizes.get(2, 0),
        l3_bytes=sizes.get(3, 0),
        line_bytes=line_bytes,
    )
    return cache, "cache sizes as told by Linux"


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _size_bytes(text: str) -> int:
    """Return the bytes of sysfs's "32K" or "8M"; 0 if it is neither."""
    scale = {"K": 1024, "M": 1024**2}.get(text[-1:], 0)
    return int(text[:-1]) * scale if text[:-1].isdigit() else 0


def _core_count(cpu_folder: Path) -> int:
    """Return the physical cores this process may use: two threads of one core count once."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    siblings = {
        _line(cpu_folder / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu)
        for cpu in usable
    }
    return max(1, len(siblings))
