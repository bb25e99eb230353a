"""The form of libraries of an operating system: their names and how they are linked."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.errors import ToolchainError


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryForm:
    """What differs between the libraries of Linux and of macOS."""

    suffix: str  # of shared libraries
    link_flags: tuple[str, ...]
    name_option: str  # writes the name that programs ask for into the library
    has_version_scripts: bool  # False: what is shown is what the sources declare visible
    archive_flags: tuple[str, ...]
    weights_template: str  # the assembler file that includes the weights


# TVM describes its kernels to debuggers by lines of files that do not exist: --strip-debug.
# rcsD: insert, create, index, no times and no owners.
ELF = LibraryForm(
    suffix=".so",
    link_flags=(
        *("-shared", "-static-libgcc", "-Wl,--build-id=none", "-Wl,--no-undefined"),
        *("-Wl,--strip-debug",),
        *("-Wl,--gc-sections", "-Wl,--as-needed", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack"),
    ),
    name_option="-Wl,-soname,",
    has_version_scripts=True,
    archive_flags=("rcsD",),
    weights_template="weights.S.j2",
)
# A library called @rpath/NAME is looked for in the folders that the program names. The linker signs
# it: Macs with Arm processors load nothing unsigned. zig's linker passes over lists of exports.
MACH = LibraryForm(
    suffix=".dylib",
    link_flags=("-dynamiclib", "-Wl,-dead_strip", "-Wl,-undefined,error"),
    name_option="-Wl,-install_name,@rpath/",
    has_version_scripts=False,
    archive_flags=("--format=darwin", "rcsD"),
    weights_template="weights_mach.S.j2",
)


def library_form(triple: str) -> LibraryForm:
    """Return the form of libraries for `triple`.

    Raises:
        ToolchainError: it is not known.
    """
    if "linux" in triple:
        return ELF
    if "-apple-macos" in triple:
        return MACH
    raise ToolchainError(
        f"no library can be linked for the triple {triple}",
        why="shared libraries are made for Linux, in ELF form, and for macOS, in Mach-O form",
        fix="choose a target whose triple names linux or macos",
    )
