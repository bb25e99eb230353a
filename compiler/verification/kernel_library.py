"""The kernels of an artifact as functions that can be called one by one."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

from compiler.toolchain import find_toolchain, run_tool

# Around every block, so that a kernel that writes outside its tensor is caught.
GUARD_BYTES = 4096  # a page: longer than a row of most tensors
GUARD = 0xA5


class KernelLibrary(AbstractContextManager["KernelLibrary"]):
    """A temporary shared library with a table of kernel functions, gone on exit.

    Kernels are hidden symbols of the artifact's static library; a table linked with them reaches
    them all the same. The last entry of the table is the weights blob, if it is asked for.
    """

    def __init__(
        self, static_library: Path, symbols: Sequence[str], weights_symbol: str | None
    ) -> None:
        entries = [*symbols, *([weights_symbol] if weights_symbol else [])]
        self._folder = TemporaryDirectory(prefix="tunesmith-kernels-")
        try:
            library = _link(static_library, entries, Path(self._folder.name))
            handle = ctypes.CDLL(str(library))
            table = (ctypes.c_void_p * len(entries)).in_dll(handle, "tunesmith_kernel_table")
        except BaseException:
            self._folder.cleanup()
            raise
        self._addresses = dict(zip(entries, table, strict=True))
        self.weights_address = int(table[len(symbols)] or 0) if weights_symbol else 0
        self._handle = handle

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()  # the mapped library stays usable, its file does not

    def call(self, symbol: str, pointers: Sequence[int], extent: int) -> None:
        """Run all work items of a phase: the second half first, since any order must do."""
        address = self._addresses[symbol]
        kinds = [ctypes.c_void_p] * len(pointers) + [ctypes.c_int32] * 2
        function = ctypes.CFUNCTYPE(None, *kinds)(address)
        middle = extent // 2
        for begin, end in ((middle, extent), (0, middle)):
            if begin < end:
                function(*pointers, begin, end)


class GuardedBlock:
    """Writable memory between guards, filled with what no kernel would write by chance."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._bytes = np.full(size_bytes + 2 * GUARD_BYTES, GUARD, np.uint8)

    @property
    def address(self) -> int:
        return int(self._bytes.ctypes.data) + GUARD_BYTES

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


def _link(static_library: Path, symbols: Sequence[str], folder: Path) -> Path:
    # Only addresses are taken, so that one type will do for functions and for data.
    declarations = "".join(f"extern const char {symbol}[];\n" for symbol in symbols)
    entries = ", ".join(f"(void *){symbol}" for symbol in symbols)
    source = folder / "kernel_table.c"
    source.write_text(f"{declarations}void *const tunesmith_kernel_table[] = {{{entries}}};\n")
    library = folder / "kernels.so"
    command = [*find_toolchain().cc, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)]
    run_tool([*command, str(static_library.absolute()), "-lm", "-lpthread"], folder=folder)
    return library
