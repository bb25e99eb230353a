"""Limits that only a run can show: a microcontroller's stack and instructions, or a latency."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from statistics import median

from compiler.artifact.manifest import read_artifact
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import LimitError, NotRunnableError, OtherMachineError
from compiler.runners.open_runner import open_runner
from compiler.target_spec import TargetSpec

_TIMED_RUNS = 21


def check_running_limits(spec: TargetSpec, folder: Path, warn: Callable[[str], None]) -> None:
    """Run the library where its target says and refuse it if it needs more than a limit.

    Args:
        warn: told if the stack was not measured: a board's own limit must not stop a build on a
            machine without its emulator.

    Raises:
        LimitError: with both numbers; or nothing is there to count instructions or to time.
    """
    if spec.limits.latency_us is not None:
        _check_latency(spec.limits.latency_us, folder)
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


def _check_latency(limit_us: int, folder: Path) -> None:
    """Time the library with as many threads as it was compiled for."""
    artifact = read_artifact(folder)
    threads = int(artifact.manifest.provenance.options["threads"])
    try:
        with open_runner(artifact, threads=threads) as runner:
            seconds = runner.time(drawn_inputs(runner.inputs), _TIMED_RUNS)
            machine = runner.machine.cpu
    except (NotRunnableError, OtherMachineError) as refusal:
        raise LimitError(
            "the limit latency_us cannot be held",
            why=f"{refusal.what}: {refusal.why}".replace(str(folder), "the library"),
            fix=f"{refusal.fix}, or leave latency_us out",
        ) from refusal
    needed_us = ceil(median(seconds) * 1e6)
    if needed_us > limit_us:
        raise LimitError(
            f"a run takes {needed_us:,} us",
            why=f"the limit latency_us is {limit_us:,}; median of {_TIMED_RUNS} runs with "
            f"{threads} thread(s) on {machine}",
            fix=f"raise it with --limit latency_us={needed_us}, or make the model smaller",
        )


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
