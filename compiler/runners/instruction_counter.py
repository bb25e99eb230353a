"""Count the instructions that an emulated machine executes: plugins of QEMU."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

from compiler.environment import tool_environment
from compiler.runners.emulator_program import copy_source
from compiler.toolchain import find_toolchain, run_tool

INSTRUCTIONS = "count_instructions"  # one number: all of them
# All; those that use a z register of SVE; those that use a vector of Advanced SIMD. AArch64 only.
VECTORS = "count_vectors"
MARKS = "count_marks"  # all of them, at each call of `tunesmith_mark`; see programs/trial_marks.h
MOST_COUNTED_RUNS = 2
_HEADER, _COUNT = "qemu_plugin.h", "instructions.txt"
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
    plugin: str

    @classmethod
    def build(cls, emulator: Emulator, folder: Path, kind: str = INSTRUCTIONS) -> Self | None:
        """Return the counter, or None if this QEMU was built without plugins.

        Args:
            kind: `INSTRUCTIONS`, `VECTORS` or `MARKS`.
        """
        if not _takes_plugins(emulator):
            return None
        source, plugin = f"{kind}.c", f"{kind}.so"
        if not (folder / plugin).exists():
            copy_source(source, folder)
            copy_source(_HEADER, folder)
            major = emulator.version.split(".")[0]
            is_new = major.isdecimal() and int(major) >= _FIRST_WITHOUT_VERSION_1
            flags = ("-shared", "-fPIC", "-O2", f"-DPLUGIN_VERSION={2 if is_new else 1}")
            run_tool((*find_toolchain().cc, *flags, "-o", plugin, source), folder=folder)
        return cls(folder=folder, plugin=plugin)

    @property
    def emulator_options(self) -> tuple[str, ...]:
        return ("-plugin", f"./{self.plugin},out={_COUNT}")

    @property
    def numbers(self) -> tuple[int, ...]:
        """What the plugin counted when the emulator ran last."""
        return tuple(map(int, (self.folder / _COUNT).read_text("ascii").split()))

    def copied_to(self, folder: Path) -> Self:
        """The counter in another folder that the emulator works in."""
        shutil.copyfile(self.folder / self.plugin, folder / self.plugin)
        return replace(self, folder=folder)

    def of_one_run(self, start: Callable[[int], object]) -> int:
        """Return the instructions of two runs less those of one: starting and ending are in both.

        Args:
            start: the program, to run the model as often as it is told, counted.
        """
        return self.numbers_of_one_run(start)[0]

    def numbers_of_one_run(self, start: Callable[[int], object]) -> tuple[int, ...]:
        """As `of_one_run`, all numbers that the plugin counts."""
        counts = []
        for runs in range(1, MOST_COUNTED_RUNS + 1):
            start(runs)
            counts.append(self.numbers)
        return tuple(two - one for one, two in zip(*counts, strict=True))


def _takes_plugins(emulator: Emulator) -> bool:
    words = subprocess.run(
        (emulator.command[0], "-h"),
        capture_output=True,
        text=True,
        env=tool_environment(),
        check=False,
    ).stdout
    return "-plugin" in words
