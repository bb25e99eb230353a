"""Run a library on a board over TVM's RPC server.

A shared library is linked of the artifact's static one and programs/rpc_model.c, sent once, and
called there. The board needs TVM's runtime, and no compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.board_address import BoardAddress
from compiler.errors import InputError, NotRunnableError, ToolchainError
from compiler.library_arrays import checked_inputs, tensor_specs
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.machine import Machine
from compiler.runners.rpc_kernels import RpcKernels
from compiler.runners.rpc_program import build_model_library
from compiler.runners.rpc_session import RpcSession
from compiler.runners.runner import Arrays, KernelSymbol, RunnerResult
from compiler.toolchain import find_toolchain

_CALL_SHARE = 0.5  # of the time that the board has for an answer, filled with timed runs


class RpcRunner(ClosedOnExit):
    """The library on a board; it counts nothing and can time."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        if threads < 1:
            raise InputError(
                f"threads is {threads}", why="one thread at least runs the library", fix="give 1"
            )
        board = _board(artifact)
        _require_compiler(artifact)
        self._artifact = artifact
        self.inputs = tensor_specs(artifact.manifest.inputs)
        self.outputs = tensor_specs(artifact.manifest.outputs)
        with TemporaryDirectory(prefix="tunesmith-board-") as folder:
            library = build_model_library(artifact, Path(folder))
            self._session = RpcSession(artifact, board, library, threads)

    @property
    def artifact(self) -> Artifact:
        return self._artifact

    @property
    def machine(self) -> Machine:
        return self._session.machine

    @property
    def is_emulated(self) -> bool:
        return False

    @property
    def is_remote(self) -> bool:
        return True

    def run(self, inputs: Sequence[Arrays], *, count: bool = False) -> RunnerResult:
        del count
        arrays = [checked_inputs(self.inputs, given) for given in inputs]
        return RunnerResult(outputs=tuple(self._outputs(given) for given in arrays))

    def time(self, inputs: Arrays, runs: int) -> tuple[float, ...]:
        arrays = checked_inputs(self.inputs, inputs)
        (first,), _ = self._session.run(arrays, self._output_bytes, 1)  # not counted: cold caches
        most = int(_CALL_SHARE * self._session.timeout_s * 1e9 / max(first, 1))
        taken: list[int] = []
        while len(taken) < runs:
            count = min(runs - len(taken), max(most, 1))
            taken += self._session.run(arrays, self._output_bytes, count)[0]
        return tuple(time * 1e-9 for time in taken)

    def kernels(self, symbols: Sequence[KernelSymbol], weights: str | None) -> RpcKernels:
        return RpcKernels(self._artifact, self._session, symbols, weights)

    def close(self) -> None:
        self._session.close()

    @property
    def _output_bytes(self) -> list[int]:
        return [record.size_bytes for record in self._artifact.manifest.outputs]

    def _outputs(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        _, blocks = self._session.run(arrays, self._output_bytes, 1)
        return {
            spec.name: block.view(spec.array_dtype).reshape(spec.shape)
            for spec, block in zip(self.outputs, blocks, strict=True)
        }


def _board(artifact: Artifact) -> BoardAddress:
    board = artifact.manifest.runner.board
    if board is None:
        raise NotRunnableError(
            f"{artifact.path} does not say where its board is",
            why="its manifest names an RPC server without an address",
            fix="give the address: --rpc HOST:PORT",
        )
    return board


def _require_compiler(artifact: Artifact) -> None:
    """Refuse before the board is asked for: without a compiler there is nothing to send."""
    try:
        find_toolchain(artifact.manifest.runner.cc)
    except ToolchainError as missing:
        raise NotRunnableError(
            missing.what, why="it links the library that the board loads", fix=missing.fix
        ) from missing
