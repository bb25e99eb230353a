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
    """Return a function that runs ``tunesmith WORDS`` in `tmp_path`; a traceback is a failure."""

    def run(*words: str | Path, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "compiler", *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(_ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
