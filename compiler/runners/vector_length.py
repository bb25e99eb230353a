"""Try a library for scalable vectors at another length than its target's processor has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from compiler.artifact.manifest import Artifact
from compiler.errors import InputError

# Powers of two that SVE may have.
VECTOR_BITS = (128, 256, 512, 1024, 2048)
# QEMU's word for vectors of one length only, as in `-cpu max,sve256=on`.
_LENGTH = re.compile(r"\bsve\d+=on\b")


def with_vector_bits(artifact: Artifact, bits: int) -> Artifact:
    """Return the artifact with an emulator whose vectors are `bits` long; its files stay.

    Raises:
        InputError: its runner is no emulator that is told the length of vectors.
    """
    runner = artifact.manifest.runner
    command = emulator_command(runner.command, bits)
    if command is None:
        raise InputError(
            f"{artifact.path}: cannot be run with vectors of {bits} bits",
            why=f"target {artifact.manifest.target.name} has no emulator that is told a length "
            "of scalable vectors (`sve256=on` in its [runner] command)",
            fix="leave out --vector-bits, or compile for a target with SVE such as neoverse-v1",
        )
    return replace(
        artifact,
        manifest=replace(artifact.manifest, runner=replace(runner, command=command)),
    )


def emulator_command(command: Sequence[str], bits: int) -> tuple[str, ...] | None:
    """Return the command of an emulator with vectors of `bits`; None if it is not told a length.

    QEMU starts programs with vectors of 512 bits at most, as Linux does, if it is not told the
    length in bytes as well.
    """
    length = f"sve{bits}=on,sve-default-vector-length={bits // 8}"
    if not any(_LENGTH.search(word) for word in command):
        return None
    return tuple(_LENGTH.sub(length, word) for word in command)
