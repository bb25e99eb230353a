"""Find QEMU's user-mode emulation of another processor and start programs in it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.artifact.manifest import Artifact
from compiler.errors import NotRunnableError
from compiler.runners.emulated_process import TIMEOUT_S, run_emulated
from compiler.runners.machine import Machine
from compiler.toolchain import run_tool


@dataclass(frozen=True, kw_only=True, slots=True)
class QemuUser:
    """An emulator that is installed, with its arguments."""

    command: tuple[str, ...]
    version: str  # "7.2.22"
    architecture: str
    target_name: str

    @property
    def machine(self) -> Machine:
        words = " ".join(self.command)
        return Machine(
            system="Linux",
            architecture=self.architecture,
            cpu=f"emulated by {words} (QEMU {self.version})",
        )

    def start(
        self,
        program: Sequence[str],
        folder: Path,
        options: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run `program` in the emulator, in `folder`, and return how it ended.

        Args:
            options: of the emulator.

        Raises:
            LateError: it takes longer than `timeout_s`.
        """
        emulator, *arguments = self.command
        return run_emulated(
            (emulator, *options, *arguments, f"./{program[0]}", *program[1:]),
            folder,
            what="library",
            fix="run it on a machine for which it was compiled",
            timeout_s=timeout_s,
        )

    def check(self, done: subprocess.CompletedProcess[str]) -> None:
        """Raise NotRunnableError for a program that did not end well."""
        if done.returncode == 0:
            return
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotRunnableError(
            f"the library failed in {self.command[0]}",
            why=lines[-1] if lines else ending(done.returncode),
            fix="see that the emulated processor has all that the target's code uses "
            f"(`tunesmith targets show {self.target_name}`)",
        )


def find_emulator(artifact: Artifact) -> QemuUser:
    """Return the emulator that the artifact names.

    Raises:
        NotRunnableError: it is not installed.
    """
    target, command = artifact.manifest.target, artifact.manifest.runner.command
    return emulator_of(command, target.name, target.triple)


def emulator_of(command: tuple[str, ...], target_name: str, triple: str) -> QemuUser:
    """Return the emulator that `command` starts; the target is named in errors.

    Raises:
        NotRunnableError: it is not installed.
    """
    if shutil.which(command[0]) is None:
        raise NotRunnableError(
            f"the emulator `{command[0]}` was not found",
            why=f"target {target_name} is tried in it, and it is not on the PATH",
            fix="install it (Debian and Ubuntu: apt-get install qemu-user)",
        )
    said = run_tool((command[0], "--version"), folder=None)
    found = re.search(r"version (\d+(?:\.\d+)*)", said)
    return QemuUser(
        command=command,
        version=found.group(1) if found else "unknown",
        architecture=triple.split("-", 1)[0],
        target_name=target_name,
    )


def ending(status: int) -> str:
    """Say how a process ended, from its status."""
    if status < 0:
        return f"it ended with signal {signal.Signals(-status).name}"
    return f"it ended with status {status}"
