"""Find a target by name or file, and say what its code needs. Standard library only.

A target is data: `target_specs/NAME.toml`, or `host`, which is made by looking at the machine.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from compiler.arm_cpu_features import AARCH64_CPUS, aarch64_features
from compiler.cpu_features import X86_CPUS, apply_feature_flags
from compiler.errors import TargetError
from compiler.host_target import host_cpu_features, host_target
from compiler.target_checks import validate
from compiler.target_schema import parse_spec, read_toml, wrong_type
from compiler.target_tables import (
    LIMIT_NAMES,
    CacheSpec,
    CoresSpec,
    GpuSpec,
    LimitsSpec,
    LlvmSpec,
    MemoryRegion,
    Precision,
    RunnerSpec,
    TargetSpec,
    ToolchainSpec,
    VectorSpec,
)

__all__ = [
    "LIMIT_NAMES",
    "CacheSpec",
    "CoresSpec",
    "GpuSpec",
    "LimitsSpec",
    "LlvmSpec",
    "MemoryRegion",
    "Precision",
    "RunnerSpec",
    "TargetSpec",
    "ToolchainSpec",
    "VectorSpec",
    "available_targets",
    "host_cpu_features",
    "load_target",
    "missing_cpu_features",
    "required_cpu_features",
    "runs_here",
]

_HOST = "host"


def available_targets() -> tuple[str, ...]:
    """Return the names that `load_target` knows: `host`, then the shipped files, sorted."""
    return (_HOST, *sorted(path.stem for path in _shipped_folder().glob("*.toml")))


def load_target(name_or_path: str | Path) -> TargetSpec:
    """Return a checked target by its name, `host`, or the path of a ``.toml`` file.

    Raises:
        TargetError: there is no such target, or its file is wrong.
    """
    if name_or_path == _HOST:
        return validate(host_target())
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = _shipped_folder() / f"{name_or_path}.toml"
        if str(name_or_path) not in available_targets():
            raise _unknown_target(str(name_or_path))
    tables = read_toml(path)
    _refuse_other_name(tables, path)
    return validate(parse_spec(_with_inherited(tables, path), path.name))


def required_cpu_features(spec: TargetSpec) -> tuple[str, ...]:
    """Return, sorted, the LLVM names of all that code for `spec` may use beyond the baseline.

    The baseline of x86-64 is SSE2, of 64-bit Arm Armv8.0-A with NEON, of RISC-V with Linux RV64GC.
    For another architecture these are the features that the spec switches on itself.
    """
    llvm = spec.llvm
    if llvm.architecture == "x86_64":
        return tuple(sorted(apply_feature_flags(X86_CPUS[llvm.cpu], llvm.features)))
    if llvm.is_aarch64:
        baseline = AARCH64_CPUS["generic"]
        return tuple(sorted(aarch64_features(llvm.cpu, llvm.features) - baseline))
    if llvm.architecture == "riscv64":
        return tuple(sorted(flag[1:] for flag in llvm.features if flag not in _RV64GC))
    return tuple(sorted(flag[1:] for flag in spec.llvm.features if flag.startswith("+")))


def missing_cpu_features(spec: TargetSpec) -> tuple[str, ...]:
    """Return, sorted, what code for `spec` may use and this machine lacks.

    Empty for another architecture or system: there it is no feature that is missing (`runs_here`).
    """
    if not _same_machine(spec) or platform.system() != "Linux":
        return ()  # elsewhere only the library's own check asks
    return tuple(sorted(set(required_cpu_features(spec)) - host_cpu_features()))


def runs_here(spec: TargetSpec) -> bool:
    """Return whether this machine, without an emulator, can run code for `spec`."""
    if spec.gpu is not None:
        return False  # whether there is a GPU is asked of its driver, when a library is loaded
    return _same_machine(spec) and not missing_cpu_features(spec)


def _same_machine(spec: TargetSpec) -> bool:
    """Whether this is the system and the architecture of the target."""
    system = "Darwin" if spec.llvm.is_macos else "Linux" if "-linux-" in spec.llvm.triple else ""
    machine = platform.machine()
    here = "aarch64" if machine == "arm64" else machine
    return platform.system() == system and spec.llvm.architecture == here


def _shipped_folder() -> Path:
    import target_specs

    return Path(target_specs.__path__[0])


def _unknown_target(name: str) -> TargetError:
    known = available_targets()
    nearest = get_close_matches(name, known, n=1, cutoff=0.4)
    listing = f"targets are: {', '.join(known)} (`tunesmith targets` explains them)"
    return TargetError(
        f"there is no target `{name}`",
        why="it is neither a shipped target nor the path of a .toml file",
        fix=f"did you mean `{nearest[0]}`? {listing}" if nearest else listing,
    )


def _refuse_other_name(tables: Mapping[str, Any], path: Path) -> None:
    name = tables.get("name")
    if isinstance(name, str) and name != path.stem:
        raise TargetError(
            f"{path.name}: name is `{name}`",
            why="a target is found by its file name, so two names would be one target",
            fix=f"rename the file to {name}.toml or set name = {path.stem!r}",
        )


def _with_inherited(tables: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return `tables` over those of the file that `inherits` names, table by table.

    The parent lies beside the file or is a shipped target. Its name and text are not passed on.
    """
    parent_name = tables.get("inherits")
    if parent_name is None:
        return tables
    if not isinstance(parent_name, str):
        raise wrong_type(f"{path.name}: `inherits`", "a text", parent_name)
    beside = path.parent / f"{parent_name}.toml"
    parent_path = beside if beside.exists() else _shipped_folder() / f"{parent_name}.toml"
    if not parent_path.exists():
        raise TargetError(
            f"{path.name}: inherits from `{parent_name}`, which does not exist",
            why="there is no such file beside it and no such shipped target",
            fix=f"name one of: {', '.join(available_targets()[1:])}",
        )
    parent = read_toml(parent_path)
    if "inherits" in parent:
        raise TargetError(
            f"{path.name}: inherits from `{parent_name}`, which inherits itself",
            why="facts are shared one level deep, so that a reader opens two files at most",
            fix=f"inherit from `{parent['inherits']}` instead",
        )
    merged = {key: value for key, value in parent.items() if key not in _OWN_KEYS}
    if _other_runner(parent, tables):
        del merged["runner"]
    for key, value in tables.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both_tables else value
    return merged


def _other_runner(parent: Mapping[str, Any], tables: Mapping[str, Any]) -> bool:
    """Whether `tables` name another kind of runner: the parent's keys then say nothing of it."""
    kinds = [
        table["runner"].get("kind")
        for table in (parent, tables)
        if isinstance(table.get("runner"), dict)
    ]
    return len(kinds) == 2 and kinds[1] is not None and kinds[0] != kinds[1]


_RV64GC = ("+m", "+a", "+f", "+d", "+c")
_OWN_KEYS = ("name", "source", "description")
