"""Compile the C sources of an artifact and link its shared and its static library."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from compiler.artifact.library_form import ELF, LibraryForm
from compiler.errors import ToolchainError
from compiler.mach_object import shown_symbols
from compiler.toolchain import Toolchain, run_tool

# No debug information: it would hold the path of the build folder. No contraction: a*b+c in C
# means two roundings, as in the reference.
_COMPILE_FLAGS = (
    *("-std=c99", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"),
    *("-fno-ident", "-ffunction-sections", "-fdata-sections"),
)
# Runtime sources that only kernels call, after the check of the processor.
_SVE = ("-mcpu=generic+sve",)
_DOT = ("-mcpu=generic+dotprod",)
_HALF = ("-mcpu=generic+fullfp16",)
_AMX = ("-march=x86-64", "-mamx-tile", "-mamx-int8")
_ABOVE_BASELINE = {
    "amx_sums.c": _AMX,
    "dot_depthwise.c": _DOT,
    "dot_sums.c": _DOT,
    "half_depthwise.c": _HALF,
    "half_sums.c": _HALF,
    "mm_sums.c": ("-mcpu=generic+i8mm",),
    "sve_depthwise.c": _SVE,
    "sve_dot_depthwise.c": _SVE,
    "sve_dot_sums.c": _SVE,
    "sve_half_depthwise.c": _SVE,
    "sve_half_sums.c": _SVE,
    "sve_mm_sums.c": ("-mcpu=generic+sve+i8mm",),
    "sve_pad.c": _SVE,
    "sve_sums.c": _SVE,
}
_LIBRARIES = ("-lm", "-lpthread")
# What zig's linker shows of itself in each library for macOS. It stands for that library's own
# start, and macOS looks symbols up in the library that a program was linked with.
_SHOWN_BY_ZIG = frozenset({"__dso_handle", "_mh_dylib_header"})


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryPaths:
    """The two libraries, relative to the artifact's folder."""

    shared: str
    static: str


def library_paths(prefix: str, form: LibraryForm = ELF) -> LibraryPaths:
    """Where a system that loads libraries has both."""
    return LibraryPaths(shared=f"lib/lib{prefix}{form.suffix}", static=f"lib/lib{prefix}.a")


def interface_symbols(prefix: str) -> tuple[str, ...]:
    """Return the functions that a library shows, sorted."""
    names = ("cpu_supported", "create", "destroy", "model", "run", "session_run")
    return tuple(f"{prefix}_{name}" for name in names)


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
    if triple.startswith("x86_64-"):
        return ("-march=x86-64",)
    # Compilers for macOS take the M1 for the baseline.
    return ("-mcpu=generic",) if triple.startswith("aarch64-apple-") else ()


def link_libraries(
    folder: Path,
    objects: Sequence[str],
    *,
    prefix: str,
    toolchain: Toolchain,
    build: str,
    form: LibraryForm = ELF,
    shown: Sequence[str] | None = None,
    libraries: Sequence[str] = _LIBRARIES,
) -> LibraryPaths:
    """Make both libraries of `objects` in ``lib/`` and return where they are.

    Args:
        shown: the functions that the shared library shows; `interface_symbols` if None.
        libraries: what the system has of what the objects need, as options of the linker.

    Raises:
        ToolchainError: the linker fails, or shows other functions.
    """
    paths = library_paths(prefix, form)
    shown = shown or interface_symbols(prefix)
    (folder / "lib").mkdir()
    name = f"{form.name_option}{Path(paths.shared).name}"
    exports = _version_script(folder, build, shown) if form.has_version_scripts else ()
    command = (*toolchain.cc, *form.link_flags, *exports, name, "-o", paths.shared)
    run_tool((*command, *objects, *libraries), folder=folder)
    if not form.has_version_scripts:
        _check_shown((folder / paths.shared).read_bytes(), shown)
    run_tool((*toolchain.ar, *form.archive_flags, paths.static, *objects), folder=folder)
    return paths


def _version_script(folder: Path, build: str, shown: Sequence[str]) -> tuple[str, ...]:
    script = f"{build}/interface.map"
    names = " ".join(f"{symbol};" for symbol in shown)
    (folder / script).write_text(f"{{ global: {names} local: *; }};\n", encoding="ascii")
    return (f"-Wl,--version-script={script}",)


def _check_shown(library: bytes, shown: Sequence[str]) -> None:
    found = set(shown_symbols(library)) - _SHOWN_BY_ZIG
    other = sorted(found.symmetric_difference(shown))
    if other:
        raise ToolchainError(
            f"the linker did not make the library that was asked for: {', '.join(other)}",
            why=f"it should show {', '.join(shown)} and nothing else",
            fix="report the model and the version of the compiler (`zig version`)",
        )
