"""The kernels of an artifact as functions of this process that can be called one by one."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from compiler.runners.runner import Kernels, Operand
from compiler.toolchain import find_toolchain, run_tool


class NativeKernels(Kernels):
    """A temporary shared library with a table of kernel functions, gone on exit.

    Kernels are hidden symbols of the artifact's static library; a table linked with them reaches
    them all the same. The last entry of the table is the weights blob, if it is asked for.
    """

    def __init__(self, static_library: Path, symbols: Sequence[str], weights: str | None) -> None:
        entries = [*symbols, *([weights] if weights else [])]
        self._folder = TemporaryDirectory(prefix="tunesmith-kernels-")
        try:
            library = _link(static_library, entries, Path(self._folder.name))
            handle = ctypes.CDLL(str(library))
            table = (ctypes.c_void_p * len(entries)).in_dll(handle, "tunesmith_kernel_table")
        except BaseException:
            self._folder.cleanup()
            raise
        self._addresses = dict(zip(entries, table, strict=True))
        self._weights_address = int(table[len(symbols)] or 0) if weights else 0
        self._handle = handle

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()  # the mapped library stays usable, its file does not

    def call(self, phases: Sequence[tuple[str, int]], operands: Sequence[Operand]) -> None:
        pointers = [self._address(operand) for operand in operands]
        kinds = [ctypes.c_void_p] * len(pointers) + [ctypes.c_int32] * 2
        for symbol, extent in phases:
            function = ctypes.CFUNCTYPE(None, *kinds)(self._addresses[symbol])
            middle = extent // 2
            for begin, end in ((middle, extent), (0, middle)):
                if begin < end:
                    function(*pointers, begin, end)

    def _address(self, operand: Operand) -> int:
        if isinstance(operand, int):
            return self._weights_address + operand
        return int(operand.content.ctypes.data) + operand.offset


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
