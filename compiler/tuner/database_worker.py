"""Runs in a process of its own: reads a database of MetaSchedule, which replays what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from compiler.errors import CompilerError
from compiler.target_spec import TargetSpec
from compiler.tuner.worker_loop import serve


def main() -> None:
    """Answer a folder with its entries, or with the error that says why there are none."""
    serve(answers)


def answers(spec: TargetSpec) -> Callable[[Path], Any]:
    """Return what reads a database's folder for a target."""
    from compiler.metaschedule_database import read_database

    def answer(folder: Path) -> Any:
        try:
            return tuple(read_database(folder, spec))
        except CompilerError as failure:
            return failure

    return answer
