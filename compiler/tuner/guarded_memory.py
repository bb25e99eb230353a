"""Arrays laid out in one block, as in an arena, with bytes between them that nobody may write."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

_PAGE_BYTES = 4096
_LINE_BYTES = 64
_GAP_BYTES = 1024  # before and behind each array; more than any vector
_GUARD_BYTES = 1 << 20  # at both ends of the block: an access there is a fault
_GAP_CONTENT = 0xA5


class GuardedMemory:
    """Memory of the harness for arrays of these sizes, in order, each on a cache line."""

    def __init__(self, harness: ctypes.CDLL, sizes: Sequence[int]) -> None:
        """Lay them out.

        Raises:
            MemoryError: there is not so much.
        """
        self._harness = harness
        self._sizes = tuple(sizes)
        self._starts = _starts(sizes)
        end = (self._starts[-1] + sizes[-1] if sizes else 0) + _GAP_BYTES
        self._bytes = -(-end // _PAGE_BYTES) * _PAGE_BYTES
        address = harness.trial_map(ctypes.c_size_t(self._bytes), ctypes.c_size_t(_GUARD_BYTES))
        if not address:
            raise MemoryError(f"no memory for {self._bytes} bytes of operands")
        self._address: int = address
        self.content = np.ctypeslib.as_array(
            (ctypes.c_uint8 * self._bytes).from_address(self._address)
        )
        self.content[:] = _GAP_CONTENT

    @property
    def addresses(self) -> tuple[int, ...]:
        return tuple(self._address + start for start in self._starts)

    def array(self, position: int) -> np.ndarray:
        """The bytes of one array, to be read and written: [bytes] of uint8."""
        start = self._starts[position]
        return self.content[start : start + self._sizes[position]]

    def overrun(self) -> int | None:
        """Return the position of an array beside which something was written."""
        begin = 0
        for position, (start, size) in enumerate(zip(self._starts, self._sizes, strict=True)):
            written = np.flatnonzero(self.content[begin:start] != _GAP_CONTENT)
            if written.size:  # behind the one before, or before this one: the nearer one
                is_before = position > 0 and int(written[0]) < (start - begin) // 2
                return position - is_before
            begin = start + size
        if (self.content[begin:] != _GAP_CONTENT).any():
            return len(self._sizes) - 1
        return None

    def free(self) -> None:
        """Give it back; arrays of it must not be used any more."""
        self._harness.trial_unmap(
            ctypes.c_void_p(self._address),
            ctypes.c_size_t(self._bytes),
            ctypes.c_size_t(_GUARD_BYTES),
        )


def _starts(sizes: Sequence[int]) -> list[int]:
    starts = []
    end = 0
    for size in sizes:
        starts.append(-(-(end + _GAP_BYTES) // _LINE_BYTES) * _LINE_BYTES)
        end = starts[-1] + size
    return starts
