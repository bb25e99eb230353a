"""Give every global symbol of a Mach-O object the model's prefix, and hide it."""

from __future__ import annotations

import struct
from collections.abc import Callable

from compiler.mach_object import SYMBOL_ENTRY, symbol_table, symbols


def with_prefixed_symbols(
    code: bytes, rename: Callable[[str], str], ours: frozenset[str] = frozenset()
) -> bytes:
    """As `object_symbols.with_prefixed_symbols`, for Mach-O objects."""
    table = symbol_table(code)
    if table is None:
        return code
    out = bytearray(code)
    names = bytearray(code[table.names_offset : table.names_offset + table.names_size])
    for symbol in symbols(code):
        is_foreign = symbol.is_undefined and symbol.c_name not in ours
        if not symbol.is_global or is_foreign:
            continue
        name, _, *rest = struct.unpack_from(SYMBOL_ENTRY, code, symbol.offset)
        if rename(symbol.c_name) != symbol.c_name:
            name = len(names)
            names += f"_{rename(symbol.c_name)}\0".encode()
        # "Private external" says of a symbol from elsewhere that it is not shown either.
        struct.pack_into(SYMBOL_ENTRY, out, symbol.offset, name, symbol.hidden_flags, *rest)
    return _with_names(out, names)


def _with_names(out: bytearray, names: bytearray) -> bytes:
    """Return the file with another string table, behind all else, where LLVM writes it."""
    table = symbol_table(out)
    assert table is not None  # the caller has renamed symbols of it
    is_last = table.names_offset + table.names_size == len(out)
    start = table.names_offset if is_last else len(out)
    out[start:] = names
    place = (table.offset, table.count, start, len(names))
    struct.pack_into("<4I", out, table.command.offset + 8, *place)
    return bytes(out)
