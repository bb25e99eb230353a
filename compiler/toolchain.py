"""Find the C compiler and run it. Its errors become one-screen messages."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.environment import c_compiler_override, tool_environment
from compiler.errors import ArtifactError, ToolchainError

TOOL_TIMEOUT_S = 600
_ERROR_LINES = 8
_DISK_FULL = "No space left on device"


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchain:
    """A C compiler, which is also the linker, and its archiver, as the words of commands."""

    cc: tuple[str, ...]
    ar: tuple[str, ...]
    version: str  # what the compiler says of itself, one line

    @property
    def is_zig(self) -> bool:
        return Path(self.cc[0]).stem == "zig"


def find_toolchain(cc: tuple[str, ...] = ("cc",)) -> Toolchain:
    """Return the toolchain that the command `cc` stands for; ``CC`` replaces a plain ``cc``.

    Raises:
        ToolchainError: it is not installed, does not run, or has no archiver.
    """
    override = c_compiler_override() if cc == ("cc",) else None
    command = override or cc
    named = " ".join(command)
    if command[0] == "zig":
        command = (_find_zig(named), *command[1:])
    if shutil.which(command[0]) is None:
        said_by = "CC names" if override else "the target names"
        raise ToolchainError(
            f"no C compiler: `{named}` was not found",
            why=f"{said_by} it to build the library, and it is not on the PATH",
            fix=_how_to_install(command[0]),
        )
    version = _zig_version(command) if cc[0] == "zig" else _first_line(command, None)
    return Toolchain(cc=command, ar=_archiver(command), version=version)


def _zig_version(command: tuple[str, ...]) -> str:
    zig_version = run_tool((command[0], "version"), folder=None).strip()
    # Asked for its version with a target of macOS, zig leaves an empty a.o where it is started.
    with TemporaryDirectory(prefix="tunesmith-zig-") as folder:
        return f"zig {zig_version}, {_first_line(command, Path(folder))}"


def _first_line(command: tuple[str, ...], folder: Path | None) -> str:
    return run_tool((*command, "--version"), folder=folder).strip().partition("\n")[0]


# Compilers that a target names by their own names: setting CC would not replace them.
_BARE_METAL_PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
}


def _how_to_install(compiler: str) -> str:
    packages = _BARE_METAL_PACKAGES.get(compiler)
    if packages is not None:
        return f"install it (Debian and Ubuntu: apt-get install {packages})"
    return (
        "install one (Debian and Ubuntu: apt-get install gcc libc6-dev), or set CC to "
        "the command of one that is installed"
    )


def static_program_command(toolchain: Toolchain) -> tuple[str, ...]:
    """Return the command that links a program for the same processor, with no shared library.

    zig has no static glibc: there the program gets musl. A library that was compiled for glibc
    fits: musl's types of threads are not larger, and names and error numbers are Linux's.
    """
    words = toolchain.cc
    if toolchain.is_zig:
        words = tuple(re.sub(r"-linux-gnu(\.[0-9.]+)?$", "-linux-musl", word) for word in words)
    return (*words, "-static")


def _find_zig(named: str) -> str:
    """Return the path of zig: on the PATH, else that of the ``ziglang`` wheel."""
    found = shutil.which("zig")
    if found is not None:
        return found
    wheel = importlib.util.find_spec("ziglang")
    if wheel is None or wheel.origin is None:
        raise ToolchainError(
            f"no C compiler: `{named}` was not found",
            why="the target names zig to build the library; it is neither on the PATH nor "
            "installed as a Python package",
            fix="pip install 'tunesmith[cross]'",
        )
    return str(Path(wheel.origin).with_name("zig"))


def _archiver(cc: tuple[str, ...]) -> tuple[str, ...]:
    if Path(cc[0]).stem == "zig":
        return (cc[0], "ar")
    name = run_tool((*cc, "-print-prog-name=ar"), folder=None).strip()
    if not name:
        raise ToolchainError(
            f"`{' '.join(cc)}` is no C compiler that can be used",
            why="it does not answer -print-prog-name=ar, as GCC and Clang do",
            fix="set CC to the command of GCC or Clang",
        )
    if shutil.which(name) is None:
        raise ToolchainError(
            f"no archiver: `{name}` was not found",
            why=f"`{' '.join(cc)}` names it to make the static library",
            fix="install binutils (Debian and Ubuntu: apt-get install binutils)",
        )
    return (name,)


def run_tool(command: Sequence[str], *, folder: Path | None) -> str:
    """Run `command` in `folder` and return its standard output.

    Raises:
        ToolchainError: it cannot be started, fails or takes longer than `TOOL_TIMEOUT_S`.
        ArtifactError: it fails because the disk is full.
    """
    return _run(command, folder).stdout


def run_tool_for_messages(command: Sequence[str], *, folder: Path | None) -> str:
    """As `run_tool`, but with what it wrote to standard error behind the output."""
    done = _run(command, folder)
    return done.stdout + done.stderr


def _run(command: Sequence[str], folder: Path | None) -> subprocess.CompletedProcess[str]:
    tool = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=tool_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except OSError as cause:
        raise ToolchainError(
            f"`{tool}` could not be started",
            why=str(cause),
            fix="check that it is a program that this user may run",
        ) from cause
    except subprocess.TimeoutExpired as cause:
        raise ToolchainError(
            f"`{tool}` did not finish in {TOOL_TIMEOUT_S} s",
            why="the library cannot be built without it",
            fix="try again on a machine with less load",
        ) from cause
    if done.returncode != 0:
        raise _failure(tool, command, done.returncode, done.stderr)
    return done


def _failure(
    tool: str, command: Sequence[str], status: int, stderr: str
) -> ToolchainError | ArtifactError:
    if _DISK_FULL in stderr:
        return ArtifactError(
            "the disk is full",
            why=f"`{tool}` could not write its output: {_DISK_FULL}",
            fix="free some space or choose another output folder",
        )
    lines = [line for line in stderr.splitlines() if line.strip()]
    shown = "\n       ".join(lines[:_ERROR_LINES]) or f"it ended with status {status}"
    subject = next((word for word in reversed(command) if word.endswith((".c", ".S"))), "")
    return ToolchainError(
        f"`{tool}` failed" + (f" on {Path(subject).name}" if subject else ""),
        why=shown,
        fix="check that the compiler makes code for the target and has its C library; "
        "CC names another one",
    )
