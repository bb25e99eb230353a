"""What a record belongs to: a machine, a number of threads, and the tools that made the code."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from compiler.target_spec import TargetSpec
from schedules.version import RULE_SET_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetKey:
    """The fingerprint decides alone; the rest says what it was made of."""

    name: str  # of the spec, which is also the name of the folder
    fingerprint: str  # TargetSpec.fingerprint
    machine: str  # TargetSpec.machine_key: as the fingerprint, for any version of the tools
    threads: int
    tvm_version: str
    rule_set_version: str

    @property
    def tools(self) -> str:
        return f"TVM {self.tvm_version}, rule set {self.rule_set_version}"


def target_key(spec: TargetSpec, threads: int | None = None) -> TargetKey:
    """Return the key of builds for `spec` by what is installed here.

    Args:
        threads: of a session; the target's cores if None.
    """
    threads = spec.cores.count if threads is None else threads
    tvm_version = version("apache-tvm")
    return TargetKey(
        name=spec.name,
        fingerprint=spec.fingerprint(
            threads=threads, tvm_version=tvm_version, rule_set_version=RULE_SET_VERSION
        ),
        machine=spec.machine_key(threads=threads),
        threads=threads,
        tvm_version=tvm_version,
        rule_set_version=RULE_SET_VERSION,
    )


def is_stale(key: TargetKey) -> bool:
    """Whether records of this key were made by other tools than those here: no build uses them."""
    try:
        installed = version("apache-tvm")
    except PackageNotFoundError:
        return True
    return (key.tvm_version, key.rule_set_version) != (installed, RULE_SET_VERSION)
