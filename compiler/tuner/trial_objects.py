"""What a trial's program is linked of besides its harness: one kernel, and what it calls."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from threading import Lock

from compiler.artifact.link import compile_sources
from compiler.artifact.object_symbols import with_prefixed_symbols
from compiler.artifact.write import files_behind, write_file
from compiler.bare_metal_flags import COMPILE_FLAGS
from compiler.kernels.object_code import undefined_symbols
from compiler.program import CompiledKernel
from compiler.runners.phase_calls import phase_calls
from compiler.runners.runner import KernelSymbol
from compiler.target_spec import TargetSpec
from compiler.toolchain import Toolchain, find_toolchain, run_tool

PREFIX = "tunesmith_trial"
_BUILD = "build"
_HEADERS = ("runtime.h", "tunesmith.h")


class TrialObjects:
    """A folder with objects that many trials share, each compiled when it is first needed.

    A kernel's functions are renamed by their number, so that one table serves all kernels with as
    many phases and pointers. Threads may ask at the same time.
    """

    def __init__(self, spec: TargetSpec, folder: Path, programs: Sequence[str]) -> None:
        """Args:
        programs: files of `runners.programs` to be found by includes.

        Raises:
            ToolchainError: the target's compiler is not there.
        """
        self.folder = folder
        self.toolchain: Toolchain = find_toolchain(spec.toolchain.cc)
        self._spec = spec
        self._made: dict[str, str] = {}
        self._lock = Lock()
        runtime, sources = (
            files("compiler.artifact") / "runtime",
            files("compiler.runners.programs"),
        )
        (folder / _BUILD).mkdir()
        for name in _HEADERS:
            place = "include" if name == "tunesmith.h" else "src/runtime"
            write_file(folder / place / name, (runtime / name).read_bytes())
        for name in programs:
            write_file(folder / "src" / name, (sources / name).read_bytes())

    def of_calls(self, kernel: CompiledKernel, pointers: int) -> list[str]:
        """Return paths of the table of the kernel's functions, and of the runtime that it calls."""
        made = [self._table(len(kernel.phases), pointers)]
        compiled, included = files_behind(set(kernel.runtime_symbols))
        runtime = files("compiler.artifact") / "runtime"
        for name in included:
            self._write_once(f"src/runtime/{name}", (runtime / name).read_bytes())
        for name in compiled:
            made.append(self.compiled(f"src/runtime/{name}", (runtime / name).read_bytes()))
        return made

    def compiled(
        self, source: str, text: bytes | str | None = None, command: Sequence[str] = ()
    ) -> str:
        """Return the path of the object of a source, which is compiled once.

        Args:
            source: relative to the folder; written first if its `text` is given.
            command: of another compiler than the library's.
        """
        with self._lock:
            if source not in self._made:
                if text is not None:
                    write_file(self.folder / source, text)
                self._made[source] = str(self.folder / self._compile(source, command))
            return self._made[source]

    def _write_once(self, name: str, text: bytes) -> None:
        with self._lock:
            if not (self.folder / name).exists():
                write_file(self.folder / name, text)

    def _table(self, phases: int, pointers: int) -> str:
        names = [_phase_name(number) for number in range(phases)]
        symbols = [KernelSymbol(name=name, pointer_count=pointers) for name in names]
        text = "\n".join(phase_calls(symbols)) + "\n"
        return self.compiled(f"src/table_{phases}_{pointers}.c", text)

    def _compile(self, source: str, command: Sequence[str]) -> str:
        if self._spec.is_hosted and not command:
            (built,) = compile_sources(
                self.folder,
                [source],
                prefix=PREFIX,
                triple=self._spec.llvm.triple,
                toolchain=self.toolchain,
                build=_BUILD,
                jobs=1,
            )
            return built
        built = f"{_BUILD}/{Path(source).stem}.o"
        flags = (*COMPILE_FLAGS, f"-DTUNESMITH_PREFIX={PREFIX}", "-Iinclude", "-Isrc")
        compiler = command or self.toolchain.cc
        run_tool((*compiler, *flags, "-c", source, "-o", built), folder=self.folder)
        return built


def renamed_object(kernel: CompiledKernel) -> bytes:
    """Return the kernel's object with the names that tables and runtime of trials have."""
    numbers = {phase.symbol: number for number, phase in enumerate(kernel.phases)}
    # Kernels in C have the model's prefix before the runtime's names.
    called = {
        name: symbol
        for name in undefined_symbols(kernel.object_code)
        for symbol in kernel.runtime_symbols
        if name == symbol or name.endswith(f"__{symbol}")
    }

    def rename(name: str) -> str:
        if name in numbers:
            return _phase_name(numbers[name])
        return f"{PREFIX}__{called.get(name, name)}"

    return with_prefixed_symbols(kernel.object_code, rename, frozenset(called))


def _phase_name(number: int) -> str:
    return f"{PREFIX}__phase_{number}"
