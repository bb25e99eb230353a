"""Start an emulator and wait for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from compiler.environment import tool_environment
from compiler.errors import NotRunnableError

TIMEOUT_S = 600


def run_emulated(
    command: Sequence[str], folder: Path, *, what: str, fix: str
) -> subprocess.CompletedProcess[str]:
    """Run an emulator's `command` in `folder` and return how it ended.

    Args:
        what: it runs, for the error.
        fix: of the error.

    Raises:
        NotRunnableError: it takes longer than `TIMEOUT_S`.
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
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise NotRunnableError(
            f"the {what} did not end in {TIMEOUT_S} s in {command[0]}",
            why="an emulator is about a hundred times slower than a processor",
            fix=fix,
        ) from cause
