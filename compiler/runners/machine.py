"""Which machine something ran on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A machine, real or emulated."""

    system: str
    architecture: str
    cpu: str


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    import platform

    return Machine(
        system=platform.system(), architecture=platform.machine(), cpu=_cpu_model() or "unknown"
    )


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)
