"""Give every global symbol of an object the model's prefix, and hide it.

Code generators add helpers of their own to an object, weak and under a fixed name (LLVM's
``__truncsfhf2``). Two models in one program would share or clash over them. Hidden symbols stay
out of a shared library that a user makes of the static one.
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.artifact import elf_symbols, mach_symbols
from compiler.errors import ToolchainError
from compiler.mach_object import is_mach


def with_prefixed_symbols(
    code: bytes, rename: Callable[[str], str], ours: frozenset[str] = frozenset()
) -> bytes:
    """Return the object with each defined global symbol `name` hidden and called ``rename(name)``.

    Calls inside the object follow, since they refer to symbols by number. Names are C's: the
    underscore that they begin with in Mach-O objects is not given to `rename`.

    Args:
        ours: names that the object expects from the library's runtime: they are renamed too.

    Raises:
        ToolchainError: `code` is an object of no known form.
    """
    if is_mach(code):
        return mach_symbols.with_prefixed_symbols(code, rename, ours)
    if elf_symbols.is_elf(code):
        return elf_symbols.with_prefixed_symbols(code, rename, ours)
    raise ToolchainError(
        "a kernel was compiled to neither an ELF nor a Mach-O object",
        why="its symbols cannot be given the model's name",
        fix="choose a target whose triple names Linux, macOS or bare metal",
    )
