"""Runs in a process of its own: reads a database of MetaSchedule, which replays what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from compiler.target_spec import TargetSpec
from compiler.tuner.worker_loop import serve, with_errors


def main() -> None:
    """Answer a folder with its entries, or with the error that says why there are none."""
    serve(answers)


def answers(spec: TargetSpec) -> Callable[[Path], Any]:
    """Return what reads a database's folder for a target."""
    from compiler.metaschedule_database import read_database

    return with_errors(lambda folder: tuple(read_database(folder, spec)))
