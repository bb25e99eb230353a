"""What an interrupted run had spent: a small file beside its records, for ``--resume``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compiler.tuner.trial import TuningTask

FOLDER = "runs"  # of a fingerprint; its files are no records


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Of a run that has not come to its end, all its resumptions together."""

    seconds: float = 0.0
    trials: int = 0
    failed: int = 0


NOTHING_SPENT = Spent()


def run_file(folder: Path, tasks: Sequence[TuningTask]) -> Path:
    """Return the file of the run that tunes exactly these kernels, in a fingerprint's folder."""
    text = ",".join(sorted(task.workload for task in tasks))
    return folder / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def read_spent(path: Path) -> Spent | None:
    """Return what the run had spent; None if there is none that was interrupted."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Spent(**document)
    except (OSError, ValueError, TypeError):
        return None


def write_spent(path: Path, spent: Spent) -> None:
    """Keep what was spent so far; the file is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    other = path.with_name(f"{path.name}.{os.getpid()}")
    other.write_text(json.dumps(asdict(spent)), encoding="utf-8")
    other.replace(path)


def forget(path: Path) -> None:
    """The run came to its end: there is nothing to resume."""
    path.unlink(missing_ok=True)
