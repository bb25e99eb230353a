"""Start an emulator and wait for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from compiler.environment import tool_environment
from compiler.errors import NotRunnableError

TIMEOUT_S = 600.0


class LateError(NotRunnableError):
    """What runs in the emulator did not end in time."""


def run_emulated(
    command: Sequence[str], folder: Path, *, what: str, fix: str, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Run an emulator's `command` in `folder` and return how it ended.

    Args:
        what: it runs, for the error.
        fix: of the error.

    Raises:
        LateError: it takes longer than `timeout_s`.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=tool_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise LateError(
            f"the {what} did not end in {timeout_s:g} s in {command[0]}",
            why="an emulator is about a hundred times slower than a processor",
            fix=fix,
        ) from cause
