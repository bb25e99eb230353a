"""The kernels of an artifact, called one by one in an emulated board."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.runners.firmware_program import KERNELS_FIRMWARE, build_kernels_firmware
from compiler.runners.qemu_system import QemuSystem
from compiler.runners.runner import Block, Kernels, KernelSymbol, Operand

_CALL, _BLOCKS = "call.bin", "blocks.bin"
_BLOCK_ALIGNMENT = 16  # of programs/firmware_kernels.c


class FirmwareKernels(Kernels):
    """A firmware with a table of kernels, started once for each call.

    It is linked for the memory that a call needs: the largest so far.
    """

    def __init__(
        self,
        artifact: Artifact,
        board: QemuSystem,
        symbols: Sequence[KernelSymbol],
        weights: str | None,
    ) -> None:
        self._artifact, self._board = artifact, board
        self._symbols, self._weights = symbols, weights
        self._number = {symbol.name: number for number, symbol in enumerate(symbols)}
        self._temporary = TemporaryDirectory(prefix="tunesmith-kernels-")
        self._folder = Path(self._temporary.name)
        self._memory_bytes = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._temporary.cleanup()

    def call(self, phases: Sequence[tuple[str, int]], operands: Sequence[Operand]) -> None:
        blocks = [operand for operand in operands if isinstance(operand, Block)]
        self._require_memory(sum(block.content.size + _BLOCK_ALIGNMENT for block in blocks))
        numbered = [(self._number[symbol], extent) for symbol, extent in phases]
        (self._folder / _CALL).write_bytes(encoded_call(numbered, operands))
        file = self._folder / _BLOCKS
        file.write_bytes(b"".join(block.content.tobytes() for block in blocks))
        self._board.run(KERNELS_FIRMWARE, self._folder)
        written = np.fromfile(file, np.uint8)
        start = 0
        for block in blocks:
            block.content[:] = written[start : start + block.content.size]
            start += block.content.size

    def _require_memory(self, needed: int) -> None:
        if needed > self._memory_bytes:
            self._memory_bytes = needed
            build_kernels_firmware(
                self._artifact, self._folder, self._symbols, self._weights, needed
            )


def encoded_call(phases: Sequence[tuple[int, int]], operands: Sequence[Operand]) -> bytes:
    """Return the file that programs/firmware_kernels.c reads: a count, then numbers of 32 bits."""
    numbers = [len(phases), *(number for phase in phases for number in phase), len(operands)]
    for operand in operands:
        if isinstance(operand, Block):
            numbers += (1, operand.content.size, operand.offset)
        else:
            numbers += (0, 0, operand)
    return struct.pack(f"<{len(numbers) + 1}I", len(numbers), *numbers)
