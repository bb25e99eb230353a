"""The kernels of an artifact, called one by one in an emulator."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.runners.emulator_program import KERNELS_PROGRAM, build_kernels_program
from compiler.runners.qemu_user import QemuUser
from compiler.runners.runner import Block, Kernels, KernelSymbol, Operand

_CALL, _BLOCKS = "call.bin", "blocks.bin"


class EmulatedKernels(Kernels):
    """A program with a table of kernels; each call starts it once."""

    def __init__(
        self,
        artifact: Artifact,
        emulator: QemuUser,
        symbols: Sequence[KernelSymbol],
        weights: str | None,
    ) -> None:
        self._emulator = emulator
        self._number = {symbol.name: number for number, symbol in enumerate(symbols)}
        self._temporary = TemporaryDirectory(prefix="tunesmith-kernels-")
        self._folder = Path(self._temporary.name)
        try:
            build_kernels_program(artifact, self._folder, symbols, weights)
        except BaseException:
            self._temporary.cleanup()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._temporary.cleanup()

    def call(self, phases: Sequence[tuple[str, int]], operands: Sequence[Operand]) -> None:
        numbered = [(self._number[symbol], extent) for symbol, extent in phases]
        (self._folder / _CALL).write_bytes(encoded_call(numbered, operands))
        blocks = [operand for operand in operands if isinstance(operand, Block)]
        file = self._folder / _BLOCKS
        file.write_bytes(b"".join(block.content.tobytes() for block in blocks))
        self._emulator.check(self._emulator.start((KERNELS_PROGRAM, _CALL, _BLOCKS), self._folder))
        written = np.fromfile(file, np.uint8)
        start = 0
        for block in blocks:
            block.content[:] = written[start : start + block.content.size]
            start += block.content.size


def encoded_call(phases: Sequence[tuple[int, int]], operands: Sequence[Operand]) -> bytes:
    """Return the file that programs/run_kernels.c reads; blocks' bytes are a file of their own."""
    numbers = [len(phases), *(number for phase in phases for number in phase), len(operands)]
    for operand in operands:
        if isinstance(operand, Block):
            numbers += (1, operand.content.size, operand.offset)
        else:
            numbers += (0, 0, operand)
    return struct.pack(f"<{len(numbers)}Q", *numbers)
