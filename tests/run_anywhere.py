"""Outputs of an artifact by whatever here can execute its instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.errors import NotRunnableError
from compiler.runners.open_runner import open_runner
from compiler.target_spec import TargetSpec, missing_cpu_features, runs_here
from tests.bochs import MACHINE, missing_for_bochs, run_in_bochs

Arrays = Mapping[str, np.ndarray]


def needs_bochs(spec: TargetSpec) -> bool:
    """Whether this machine has the target's system and architecture, but not its instructions."""
    return spec.runner.kind == "native" and bool(missing_cpu_features(spec))


def run_anywhere(
    artifact: Artifact, spec: TargetSpec, sets: Sequence[Arrays]
) -> tuple[Sequence[dict[str, np.ndarray]], str]:
    """The outputs for each set of inputs, and the processor or emulator that made them.

    Raises:
        NotRunnableError: nothing here can run it; says why.
    """
    if needs_bochs(spec):
        missing = missing_for_bochs(spec)
        if missing is not None:
            raise NotRunnableError(
                f"this processor lacks {', '.join(missing_cpu_features(spec)[:3])}, ...",
                why=missing,
                fix="run it on such a processor",
            )
        return run_in_bochs(artifact, sets), MACHINE
    if spec.runner.kind == "native" and not runs_here(spec):
        raise NotRunnableError(
            f"{spec.name} is for another system or a GPU",
            why="there is no emulator of it",
            fix="run it where it is for",
        )
    with open_runner(artifact) as runner:
        return runner.run(sets).outputs, runner.machine.cpu
