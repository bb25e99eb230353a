"""The kernels of an artifact, called one by one on a board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.runners.rpc_messages import Argument, BoardBlock
from compiler.runners.rpc_program import build_kernels_library
from compiler.runners.rpc_session import RpcSession
from compiler.runners.runner import Block, Kernels, KernelSymbol, Operand


class RpcKernels(Kernels):
    """A library with a table of kernels, loaded beside the model's, whose weights it is given."""

    def __init__(
        self,
        artifact: Artifact,
        session: RpcSession,
        symbols: Sequence[KernelSymbol],
        weights: str | None,
    ) -> None:
        self._session = session
        self._number = {symbol.name: number for number, symbol in enumerate(symbols)}
        with TemporaryDirectory(prefix="tunesmith-kernels-") as folder:
            library = build_kernels_library(artifact, Path(folder), symbols)
            self._library = session.load(library)
        self._weights_address = session.weights_address() if weights else 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The library stays loaded until the session ends: it is code without weights."""

    def call(self, phases: Sequence[tuple[str, int]], operands: Sequence[Operand]) -> None:
        arguments: list[Argument] = [self._session.timeout_s, len(phases)]
        for symbol, extent in phases:
            arguments += (self._number[symbol], extent)
        blocks = [operand for operand in operands if isinstance(operand, Block)]
        for operand in operands:
            if isinstance(operand, Block):
                arguments += (_sent(operand), operand.offset)
            else:
                arguments.append(self._weights_address + operand)
        written = self._session.call(self._library, "call", arguments, doing="running a kernel")
        for block, content in zip(blocks, written, strict=True):
            block.content[:] = content


def _sent(block: Block) -> BoardBlock:
    content = np.ascontiguousarray(block.content).tobytes()
    return BoardBlock(size_bytes=len(content), content=content, is_fetched=True)
