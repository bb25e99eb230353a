"""Compile the C sources of an artifact and link its shared and its static library."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import ToolchainError
from compiler.toolchain import Toolchain, run_tool

# No debug information: it would hold the path of the build folder. No contraction: a*b+c in C
# means two roundings, as in the reference.
_COMPILE_FLAGS = (
    *("-std=c99", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"),
    *("-fno-ident", "-ffunction-sections", "-fdata-sections"),
)
_LINK_FLAGS = (
    *("-shared", "-static-libgcc", "-Wl,--build-id=none", "-Wl,--no-undefined"),
    *("-Wl,--gc-sections", "-Wl,--as-needed", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack"),
)
# Runtime sources that only kernels call, after the check of the processor.
_SVE = ("-mcpu=generic+sve",)
_DOT = ("-mcpu=generic+dotprod",)
_ABOVE_BASELINE = {
    "dot_depthwise.c": _DOT,
    "dot_sums.c": _DOT,
    "sve_depthwise.c": _SVE,
    "sve_sums.c": _SVE,
}
_LIBRARIES = ("-lm", "-lpthread")


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryPaths:
    """The two libraries, relative to the artifact's folder."""

    shared: str
    static: str


def library_paths(prefix: str) -> LibraryPaths:
    """Where a system that loads libraries has both."""
    return LibraryPaths(shared=f"lib/lib{prefix}.so", static=f"lib/lib{prefix}.a")


def interface_symbols(prefix: str) -> tuple[str, ...]:
    """Return the functions that a library shows, sorted."""
    names = ("cpu_supported", "create", "destroy", "model", "run", "session_run")
    return tuple(f"{prefix}_{name}" for name in names)


def check_triple(triple: str) -> None:
    """Raise `ToolchainError` if libraries for `triple` cannot be made."""
    if "linux" not in triple:
        raise ToolchainError(
            f"no library can be linked for the triple {triple}",
            why="shared libraries are made in ELF form, for Linux",
            fix="choose a target whose triple names linux",
        )


def compile_sources(
    folder: Path,
    sources: Sequence[str],
    *,
    prefix: str,
    triple: str,
    toolchain: Toolchain,
    build: str,
    jobs: int,
) -> list[str]:
    """Compile `sources` and return the object files, in the order of `sources`.

    All names are relative to `folder`, so that no path gets into an object. Objects are made in
    the folder `build`.
    """

    def compile_one(numbered: tuple[int, str]) -> str:
        number, source = numbered
        built = f"{build}/{number:02d}_{Path(source).stem}.o"
        # .incbin is searched in the folders of -I, as #include is.
        includes = ("-Iinclude", "-Isrc")
        baseline = _ABOVE_BASELINE.get(Path(source).name, _baseline(triple))
        flags = (*_COMPILE_FLAGS, *baseline, f"-DTUNESMITH_PREFIX={prefix}", *includes)
        command = (*toolchain.cc, *flags, f"-frandom-seed={built}", "-c", source, "-o", built)
        run_tool(command, folder=folder)
        return built

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        return list(pool.map(compile_one, enumerate(sources)))


def _baseline(triple: str) -> tuple[str, ...]:
    """Flags for code that runs on every CPU of the architecture: it refuses the wrong ones."""
    return ("-march=x86-64",) if triple.startswith("x86_64-") else ()


def link_libraries(
    folder: Path,
    objects: Sequence[str],
    *,
    prefix: str,
    toolchain: Toolchain,
    build: str,
    shown: Sequence[str] | None = None,
    libraries: Sequence[str] = _LIBRARIES,
) -> LibraryPaths:
    """Make both libraries of `objects` in ``lib/`` and return where they are.

    Args:
        shown: the functions that the shared library shows; `interface_symbols` if None.
        libraries: what the system has of what the objects need, as options of the linker.
    """
    paths = library_paths(prefix)
    script = f"{build}/interface.map"
    names = " ".join(f"{symbol};" for symbol in shown or interface_symbols(prefix))
    (folder / script).write_text(f"{{ global: {names} local: *; }};\n", encoding="ascii")
    (folder / "lib").mkdir()
    name = Path(paths.shared).name
    exports = (f"-Wl,--version-script={script}", f"-Wl,-soname,{name}")
    out = ("-o", paths.shared)
    run_tool((*toolchain.cc, *_LINK_FLAGS, *exports, *out, *objects, *libraries), folder=folder)
    # r: insert, c: create, s: index, D: no times, no owners.
    run_tool((*toolchain.ar, "rcsD", paths.static, *objects), folder=folder)
    return paths
