"""Limits that only a run can show: stack and instructions of a microcontroller's library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compiler.artifact.manifest import read_artifact
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import LimitError, NotRunnableError
from compiler.runners.open_runner import open_runner
from compiler.target_spec import TargetSpec


def check_running_limits(spec: TargetSpec, folder: Path, warn: Callable[[str], None]) -> None:
    """Run the library in its emulator and refuse it if it needs more than a limit.

    Args:
        warn: told if the stack was not measured: a board's own limit must not stop a build on a
            machine without its emulator.

    Raises:
        LimitError: with both numbers; or no emulator is there to count instructions.
    """
    stack, instructions = spec.limits.stack_bytes, spec.limits.instruction_count
    if spec.family != "mcu" or (stack is None and instructions is None):
        return
    try:
        with open_runner(read_artifact(folder)) as runner:
            result = runner.run([drawn_inputs(runner.inputs)], count=instructions is not None)
    except NotRunnableError as refusal:
        if instructions is not None:
            raise LimitError(
                "the limit instruction_count cannot be held",
                why=f"{refusal.what}: {refusal.why}",
                fix=f"{refusal.fix}, or leave instruction_count out",
            ) from refusal
        warn(f"stack_bytes was not measured: {refusal.what}")
        return
    _check("stack_bytes", "bytes of stack", result.stack_bytes, stack)
    _check("instruction_count", "instructions for a run", result.instruction_count, instructions)


def _check(name: str, what: str, needed: int | None, limit: int | None) -> None:
    if limit is None:
        return
    if needed is None:
        raise LimitError(
            f"the limit {name} cannot be held",
            why="the emulator was built without plugins, which count",
            fix=f"use another build of QEMU, or leave {name} out",
        )
    if needed > limit:
        raise LimitError(
            f"the model needs {needed:,} {what}",
            why=f"the limit {name} is {limit:,}",
            fix=f"raise it with --limit {name}={needed}, or make the model smaller",
        )
