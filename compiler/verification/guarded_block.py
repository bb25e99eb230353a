"""Memory for a kernel's tensor, with guards on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.runners.runner import Block

# Around every block, so that a kernel that writes outside its tensor is caught.
GUARD_BYTES = 4096  # a page: longer than a row of most tensors
GUARD = 0xA5


class GuardedBlock:
    """Writable memory between guards, filled with what no kernel would write by chance."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._bytes = np.full(size_bytes + 2 * GUARD_BYTES, GUARD, np.uint8)

    @property
    def operand(self) -> Block:
        """The block as a kernel is given it, guards included."""
        return Block(content=self._bytes, offset=GUARD_BYTES)

    def fill(self, array: np.ndarray) -> None:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._bytes[GUARD_BYTES : GUARD_BYTES + self._size_bytes] = flat

    def read(self, dtype: str, shape: Sequence[int]) -> np.ndarray:
        """Return a copy of the content."""
        content = self._bytes[GUARD_BYTES : GUARD_BYTES + self._size_bytes]
        return np.frombuffer(content.tobytes(), dtype=dtype).reshape(shape)

    @property
    def guards_intact(self) -> bool:
        head, tail = self._bytes[:GUARD_BYTES], self._bytes[GUARD_BYTES + self._size_bytes :]
        return bool((head == GUARD).all() and (tail == GUARD).all())
