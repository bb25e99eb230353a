"""Find what can run an artifact: the folder itself says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from compiler.artifact.manifest import Artifact, read_artifact
from compiler.board_address import BoardAddress
from compiler.errors import NotRunnableError
from compiler.runners.emulator import EmulatorRunner
from compiler.runners.firmware import FirmwareRunner
from compiler.runners.native import NativeRunner
from compiler.runners.rpc import RpcRunner
from compiler.runners.runner import Runner

# By the target's family and the kind of its runner.
_RUNNERS: Mapping[tuple[str, str], Callable[[Artifact, int], Runner]] = {
    ("cpu", "native"): NativeRunner,
    ("cpu", "emulator"): EmulatorRunner,
    ("cpu", "rpc"): RpcRunner,
    ("gpu", "native"): NativeRunner,
    ("mcu", "emulator"): FirmwareRunner,
}


def open_runner(
    artifact: Artifact | str | Path, threads: int = 1, board: BoardAddress | None = None
) -> Runner:
    """Return a runner for the artifact, as its manifest's ``runner`` says.

    Args:
        threads: how many threads share the work of one call, the calling one included.
        board: run it on this board, whatever the manifest says.

    Raises:
        ArtifactError: the artifact is damaged or of another version.
        OtherMachineError: it was made for another processor or system; names what is missing.
        NotRunnableError: its emulator is not installed, its board cannot be reached, or nothing
            here can run its target.
        InputError: `threads` is less than 1.
    """
    opened = artifact if isinstance(artifact, Artifact) else read_artifact(Path(artifact))
    if board is not None:
        opened = _on_board(opened, board)
    target, runner = opened.manifest.target, opened.manifest.runner
    opener = _RUNNERS.get((target.family, runner.kind))
    if opener is None and runner.kind == "rpc":
        raise NotRunnableError(
            f"{opened.path} cannot be run on a board over RPC",
            why=f"target {target.name} is of the family `{target.family}`, and TVM's RPC server "
            "runs libraries for processors with an operating system",
            fix="leave out the board",
        )
    if opener is None:
        raise NotRunnableError(
            f"{opened.path} cannot be run here",
            why=f"target {target.name} names no emulator",
            fix=f"copy the folder to a machine for which it was compiled ({target.triple})",
        )
    return opener(opened, threads)


def _on_board(artifact: Artifact, board: BoardAddress) -> Artifact:
    manifest = artifact.manifest
    runner = replace(manifest.runner, kind="rpc", board=board)
    return replace(artifact, manifest=replace(manifest, runner=runner))
