"""Command lines are run as a user runs them: a process of its own, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent.parent
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def tunesmith(tmp_path: Path) -> Callable[..., Outcome]:
    """Return a function that runs ``tunesmith WORDS``; a traceback is a failure.

    It runs in `folder`, by default `tmp_path`; further keywords are environment variables.
    """

    def run(*words: str | Path, folder: Path = tmp_path, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "compiler", *map(str, words)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
