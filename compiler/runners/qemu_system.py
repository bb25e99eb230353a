"""Find QEMU's emulation of a whole board and start firmware in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.artifact.manifest import Artifact
from compiler.errors import NotRunnableError
from compiler.runners.emulated_process import TIMEOUT_S, run_emulated
from compiler.runners.machine import Machine
from compiler.toolchain import run_tool

_PACKAGES = {"arm": "qemu-system-arm", "aarch64": "qemu-system-arm", "riscv32": "qemu-system-misc"}
# No window, no console; files of the host by semihosting.
_OPTIONS = ("-nographic", "-monitor", "none", "-serial", "none")
_SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")


@dataclass(frozen=True, kw_only=True, slots=True)
class QemuSystem:
    """An emulator that is installed, with its arguments."""

    command: tuple[str, ...]
    version: str  # "7.2.22"
    processor: str
    target_name: str

    @property
    def machine(self) -> Machine:
        return Machine(
            system="bare metal",
            architecture=self.processor,
            cpu=f"emulated by {' '.join(self.command)} (QEMU {self.version})",
        )

    def run(self, firmware: str, folder: Path, options: Sequence[str] = ()) -> None:
        """Run `firmware`, a file of `folder`, until it ends.

        Args:
            options: of the emulator.

        Raises:
            NotRunnableError: it takes too long, faults, or reports an error.
        """
        done = self.start(firmware, folder, options)
        if done.returncode != 0:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise NotRunnableError(
                f"the firmware for {self.target_name} failed in {self.command[0]}",
                why=lines[-1] if lines else f"it ended with status {done.returncode}",
                fix="report the model and the target: this is a fault of the compiler",
            )

    def start(
        self,
        firmware: str,
        folder: Path,
        options: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """As `run`, and return how it ended.

        Raises:
            LateError: it takes longer than `timeout_s`.
        """
        emulator, *arguments = self.command
        command = (emulator, *options, *arguments, *_OPTIONS, *_SEMIHOSTING, "-kernel", firmware)
        return run_emulated(
            command,
            folder,
            what="firmware",
            fix="run it on the board, or give fewer inputs",
            timeout_s=timeout_s,
        )


def find_board(artifact: Artifact) -> QemuSystem:
    """Return the emulator that the artifact's target names.

    Raises:
        NotRunnableError: it is not installed.
    """
    target, command = artifact.manifest.target, artifact.manifest.runner.command
    return board_emulator(command, target.name, target.triple)


def board_emulator(command: tuple[str, ...], target_name: str, triple: str) -> QemuSystem:
    """Return the emulator that `command` starts; the target is named in errors.

    Raises:
        NotRunnableError: it is not installed.
    """
    emulator = command[0]
    if shutil.which(emulator) is None:
        package = _PACKAGES.get(emulator.rpartition("-")[2], "qemu-system")
        raise NotRunnableError(
            f"no emulator for {target_name}: `{emulator}` was not found",
            why="the target's [runner] names it, and it is not on the PATH",
            fix=f"install QEMU (Debian and Ubuntu: apt-get install {package})",
        )
    first = run_tool((emulator, "--version"), folder=None).partition("\n")[0]
    found = re.search(r"version (\S+)", first)
    return QemuSystem(
        command=command,
        version=found[1] if found else "unknown",
        processor=triple.split("-", 1)[0],
        target_name=target_name,
    )
