"""Links one kernel into a library that `trial_harness.c` can call, in a few hundredths of a second.

All but the kernel itself is compiled once: the harness, the runtime's functions that kernels call,
and for each number of pointers the function that passes them.
"""

from __future__ import annotations

import platform
from importlib.resources import files
from pathlib import Path

from compiler.artifact.link import compile_sources
from compiler.artifact.write import RUNTIME_FILES_BEHIND, RUNTIME_FUNCTION_FILES
from compiler.program import CompiledKernel
from compiler.toolchain import Toolchain, find_toolchain, run_tool

_PREFIX = "trial"  # of the runtime's symbols
_BUILD = "build"


class TrialLinker:
    """A folder with what is compiled once, and the libraries of kernels."""

    def __init__(self, folder: Path) -> None:
        """Compile the harness.

        Raises:
            ToolchainError: there is no C compiler, or it fails.
        """
        self._folder = folder
        self._toolchain = find_toolchain()
        self._linker = _linker(self._toolchain)
        self._compiled: dict[str, Path] = {}  # objects by source
        self._count = 0
        _write_sources(folder)
        objects = [
            self._object("src/trial_harness.c"),
            self._object("src/runtime/pool.c"),
        ]
        self.harness = folder / "harness.so"
        command = (*self._toolchain.cc, "-shared", "-o", str(self.harness), *map(str, objects))
        run_tool((*command, "-lm", "-lpthread"), folder=folder)

    def link(self, kernel: CompiledKernel, pointer_count: int) -> Path:
        """Return a library with the kernel's phases and `trial_call`. Delete it after use.

        What it needs of libm is found when it is loaded after the harness.

        Args:
            pointer_count: how many pointers each phase takes.

        Raises:
            ToolchainError: the object cannot be linked.
        """
        code = self._folder / f"kernel-{self._count}.o"
        library = code.with_suffix(".so")
        self._count += 1
        code.write_bytes(kernel.object_code)
        objects = [code, self._caller(pointer_count), *self._runtime(kernel)]
        names = (f"--defsym={name}={_PREFIX}__{name}" for name in kernel.runtime_symbols)
        command = (*self._linker, "-shared", *names, "-o", str(library), *map(str, objects))
        try:
            run_tool(command, folder=self._folder)
        finally:
            code.unlink()
        return library

    def _caller(self, pointer_count: int) -> Path:
        source = f"src/call_{pointer_count}.c"
        if source not in self._compiled:
            (self._folder / source).write_text(_caller_source(pointer_count), encoding="ascii")
        return self._object(source)

    def _runtime(self, kernel: CompiledKernel) -> list[Path]:
        named = {RUNTIME_FUNCTION_FILES[symbol] for symbol in kernel.runtime_symbols}
        behind = {name for file in named for name in RUNTIME_FILES_BEHIND.get(file, ())}
        return [self._object(f"src/runtime/{name}") for name in sorted(named | behind)]

    def _object(self, source: str) -> Path:
        if source not in self._compiled:
            build = f"{_BUILD}/{len(self._compiled)}"  # a folder each: names of objects are numbers
            (self._folder / build).mkdir(parents=True)
            (compiled,) = compile_sources(
                self._folder,
                [source],
                prefix=_PREFIX,
                triple=f"{platform.machine()}-unknown-linux-gnu",
                toolchain=self._toolchain,
                build=build,
                jobs=1,
            )
            self._compiled[source] = self._folder / compiled
        return self._compiled[source]


def _linker(toolchain: Toolchain) -> tuple[str, ...]:
    """The linker itself: the compiler needs as long again to find out how to call it."""
    if toolchain.is_zig:
        return (toolchain.cc[0], "ld.lld")
    return (run_tool((*toolchain.cc, "-print-prog-name=ld"), folder=None).strip(),)


def _write_sources(folder: Path) -> None:
    """Put the runtime's files where those of an artifact are, and the harness beside them."""
    runtime = files("compiler.artifact") / "runtime"
    (folder / "src" / "runtime").mkdir(parents=True)
    (folder / "include").mkdir()
    for file in runtime.iterdir():
        place = "include" if file.name == "tunesmith.h" else "src/runtime"
        (folder / place / file.name).write_bytes(file.read_bytes())
    harness = files("compiler.tuner") / "trial_harness.c"
    (folder / "src" / "trial_harness.c").write_bytes(harness.read_bytes())


def _caller_source(pointer_count: int) -> str:
    arguments = "".join(f"pointers[{number}], " for number in range(pointer_count))
    return f"""\
#include <stdint.h>
typedef void (*phase)({"void *, " * pointer_count}int32_t, int32_t);
__attribute__((visibility("default")))
void trial_call(void (*function)(void), void **pointers, int32_t begin, int32_t end)
{{
    ((phase)function)({arguments}begin, end);
}}
"""
