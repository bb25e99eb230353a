"""A board that has loaded an artifact's library and may run it: its processor was asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from compiler import library_abi as abi
from compiler.artifact.manifest import Artifact
from compiler.board_address import BoardAddress
from compiler.errors import NotRunnableError, OtherProcessorError
from compiler.runners.machine import Machine
from compiler.runners.rpc_messages import Argument, BoardBlock
from compiler.runners.rpc_process import RpcProcess

TEXT_BYTES = 1024
TEXT = BoardBlock(size_bytes=TEXT_BYTES, is_fetched=True)


class RpcSession:
    """Functions of programs/rpc_model.c on the board; closed with its process."""

    def __init__(
        self, artifact: Artifact, board: BoardAddress, library: Path, threads: int
    ) -> None:
        self._artifact = artifact
        self._board = board
        self._process = RpcProcess(board)
        try:
            self._model = self.load(library)
            self.machine = self._described()
            self._start(threads)
        except BaseException:
            self._process.close()
            raise

    @property
    def timeout_s(self) -> int:
        return self._board.timeout_s

    def load(self, library: Path) -> str:
        """Return the name by which `call` knows a library that the board has loaded."""
        # Some servers put the files of all clients into one folder.
        name = f"tunesmith-{uuid4().hex[:12]}{library.suffix}"
        self._process.load(library, name, self._artifact.manifest.target.triple)
        return name

    def run(
        self, inputs: Sequence[np.ndarray], output_bytes: Sequence[int], runs: int
    ) -> tuple[tuple[int, ...], tuple[np.ndarray, ...]]:
        """Run the model so many times on the same inputs.

        Returns:
            The nanoseconds that each run took on the board, and the bytes of each output.
        """
        sent = [_sent(array) for array in inputs]
        room = [BoardBlock(size_bytes=max(size, 1), is_fetched=True) for size in output_bytes]
        times = BoardBlock(size_bytes=8 * runs, is_fetched=True)
        arguments: list[Argument] = [self.timeout_s, runs, times, *sent, *room]
        taken, *outputs = self.call(self._model, "run", arguments, doing="running the library")
        whole = (output[:size] for output, size in zip(outputs, output_bytes, strict=True))
        return tuple(int(time) for time in taken.view(np.int64)), tuple(whole)

    def call(
        self, library: str, function: str, arguments: Sequence[Argument], *, doing: str
    ) -> tuple[np.ndarray, ...]:
        """Call a function that returns an error code, and return the blocks that are fetched.

        Raises:
            NotRunnableError: the code is an error, or the board does not answer.
        """
        result = self._process.call(library, function, arguments, doing=doing)
        if result.status != abi.OK:
            raise NotRunnableError(
                f"the library failed on {self._board}",
                why=self._explained(result.status),
                fix="report it with the model: this shows a fault of the compiler",
            )
        return result.blocks

    def weights_address(self) -> int:
        """Where the weights are in the memory of the board's process."""
        return self._process.call(self._model, "weights", (), doing="running the library").status

    def close(self) -> None:
        self._process.close()

    def _described(self) -> Machine:
        arguments = (TEXT, TEXT_BYTES)
        (text,) = self.call(self._model, "describe", arguments, doing="being described")
        return board_machine(text, self._board)

    def _start(self, threads: int) -> None:
        arguments = (threads, TEXT, TEXT_BYTES)
        result = self._process.call(self._model, "start", arguments, doing="starting the library")
        if result.status == abi.E_CPU:
            raise OtherProcessorError(
                f"{self._board} lacks the CPU feature {block_text(result.blocks[0])}",
                why=f"the library was compiled for {self._artifact.manifest.target.name}, "
                f"the board is {self.machine.cpu}",
                fix="compile for a target whose features the board's processor has",
            )
        if result.status != abi.OK:
            raise NotRunnableError(
                f"the library cannot start on {self._board}",
                why=self._explained(result.status),
                fix="use fewer --threads, or a board with more memory",
            )

    def _explained(self, error: int) -> str:
        arguments = (error, TEXT, TEXT_BYTES)
        result = self._process.call(self._model, "explain", arguments, doing="explaining an error")
        return block_text(result.blocks[0])


def board_machine(text: np.ndarray, board: BoardAddress) -> Machine:
    """Return the machine that a board says it is.

    Args:
        text: the block that `describe` of programs/board_words.h has filled.
    """
    system, architecture, host, processor = block_text(text).split("\n", 3)
    key = f"`{board.device_key}`, " if board.device_key else ""
    return Machine(
        system=system,
        architecture=architecture,
        cpu=f"{processor or 'unknown'} (board {key}host {host}, over RPC)",
    )


def _sent(array: np.ndarray) -> BoardBlock:
    content = array.tobytes() or b"\0"  # no block is empty
    return BoardBlock(size_bytes=len(content), content=content)


def block_text(block: np.ndarray) -> str:
    """Return the text in a block that a function has filled."""
    return block.tobytes().partition(b"\0")[0].decode("utf-8", "replace")
