"""Count the instructions that an emulated machine executes: a plugin of QEMU."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from compiler.environment import tool_environment
from compiler.runners.emulator_program import copy_source
from compiler.toolchain import find_toolchain, run_tool

_SOURCE, _PLUGIN, _COUNT = "count_instructions.c", "count_instructions.so", "instructions.txt"
# Which version of its plugin interface QEMU wants: version 1 was refused from QEMU 9.0 on.
_FIRST_WITHOUT_VERSION_1 = 9


class Emulator(Protocol):
    """QEMU, of a processor or of a board."""

    @property
    def command(self) -> tuple[str, ...]: ...

    @property
    def version(self) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionCounter:
    """A plugin that is ready in a folder; the emulator works in that folder."""

    folder: Path

    @classmethod
    def build(cls, emulator: Emulator, folder: Path) -> Self | None:
        """Return the counter, or None if this QEMU was built without plugins."""
        if not _takes_plugins(emulator):
            return None
        if not (folder / _PLUGIN).exists():
            copy_source(_SOURCE, folder)
            major = emulator.version.split(".")[0]
            is_new = major.isdecimal() and int(major) >= _FIRST_WITHOUT_VERSION_1
            flags = ("-shared", "-fPIC", "-O2", f"-DPLUGIN_VERSION={2 if is_new else 1}")
            run_tool((*find_toolchain().cc, *flags, "-o", _PLUGIN, _SOURCE), folder=folder)
        return cls(folder=folder)

    @property
    def emulator_options(self) -> tuple[str, ...]:
        return ("-plugin", f"./{_PLUGIN},out={_COUNT}")

    def of_one_run(self, start: Callable[[int], object]) -> int:
        """Return the instructions of two runs less those of one: starting and ending are in both.

        Args:
            start: the program, to run the model as often as it is told, counted.
        """
        counts = []
        for runs in (1, 2):
            start(runs)
            counts.append(int((self.folder / _COUNT).read_text(encoding="ascii")))
        return counts[1] - counts[0]


def _takes_plugins(emulator: Emulator) -> bool:
    words = subprocess.run(
        (emulator.command[0], "-h"),
        capture_output=True,
        text=True,
        env=tool_environment(),
        check=False,
    ).stdout
    return "-plugin" in words
