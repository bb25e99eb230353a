"""What is in a Mach-O file, the form of objects and libraries of macOS.

64-bit little-endian files only: others are older than the targets. Layouts are those of
<mach-o/loader.h> and <mach-o/nlist.h>.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\xcf\xfa\xed\xfe"  # MH_MAGIC_64

_HEADER_BYTES = 32
_SEGMENT = 0x19  # LC_SEGMENT_64
_SEGMENT_BYTES = 72
_SECTION = "<16s16s2Q8I"
_SYMBOL_TABLE = 0x2  # LC_SYMTAB
_INSTRUCTIONS = 0x8000_0400  # S_ATTR_PURE_INSTRUCTIONS | S_ATTR_SOME_INSTRUCTIONS

SYMBOL_ENTRY = "<IBBHQ"  # nlist_64
_DEBUG, _HIDDEN, _KIND, _GLOBAL = 0xE0, 0x10, 0x0E, 0x01  # N_STAB, N_PEXT, N_TYPE, N_EXT
_UNDEFINED = 0  # N_UNDF


@dataclass(frozen=True, slots=True)
class LoadCommand:
    """One of the commands behind the header; `offset` is its place in the file."""

    kind: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """Where the command of the table, its entries and its names are."""

    command: LoadCommand
    offset: int
    count: int
    names_offset: int
    names_size: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """An entry of the symbol table; `offset` is its place in the file."""

    offset: int
    name: str  # with the underscore that C's names begin with
    flags: int  # n_type

    @property
    def c_name(self) -> str:
        return self.name.removeprefix("_")

    @property
    def is_global(self) -> bool:
        return bool(self.flags & _GLOBAL) and not self.flags & _DEBUG

    @property
    def is_undefined(self) -> bool:
        return self.is_global and self.flags & _KIND == _UNDEFINED

    @property
    def is_shown(self) -> bool:
        """Whether it is defined here for the files that this one is linked with at run time."""
        return self.is_global and not self.is_undefined and not self.flags & _HIDDEN

    @property
    def hidden_flags(self) -> int:
        return self.flags | _HIDDEN


def is_mach(data: bytes | bytearray) -> bool:
    return data[:4] == MAGIC


def load_commands(data: bytes | bytearray) -> Iterator[LoadCommand]:
    """Yield the load commands, in order."""
    (count,) = struct.unpack_from("<I", data, 16)
    offset = _HEADER_BYTES
    for _ in range(count):
        kind, size = struct.unpack_from("<2I", data, offset)
        yield LoadCommand(kind, offset, size)
        offset += size


def code_bytes(data: bytes | bytearray) -> int:
    """Bytes of machine code in the file."""
    total = 0
    for command in load_commands(data):
        if command.kind != _SEGMENT:
            continue
        first = command.offset + _SEGMENT_BYTES
        for at in range(first, command.offset + command.size, struct.calcsize(_SECTION)):
            _, _, _, size, _, _, _, _, flags, *_ = struct.unpack_from(_SECTION, data, at)
            total += size if flags & _INSTRUCTIONS else 0
    return total


def symbol_table(data: bytes | bytearray) -> SymbolTable | None:
    """Return where the symbols are; None if the file has no table."""
    for command in load_commands(data):
        if command.kind == _SYMBOL_TABLE:
            return SymbolTable(command, *struct.unpack_from("<4I", data, command.offset + 8))
    return None


def symbols(data: bytes | bytearray) -> Iterator[Symbol]:
    """Yield the entries of the symbol table, in order."""
    table = symbol_table(data)
    if table is None:
        return
    size = struct.calcsize(SYMBOL_ENTRY)
    for at in range(table.offset, table.offset + table.count * size, size):
        name, flags, *_ = struct.unpack_from(SYMBOL_ENTRY, data, at)
        start = table.names_offset + name
        yield Symbol(at, data[start : data.index(b"\0", start)].decode(), flags)


def undefined_symbols(data: bytes | bytearray) -> tuple[str, ...]:
    """C's names of what the file expects from elsewhere, sorted."""
    return tuple(sorted({symbol.c_name for symbol in symbols(data) if symbol.is_undefined}))


def shown_symbols(data: bytes | bytearray) -> tuple[str, ...]:
    """C's names of what the file shows to others, sorted."""
    return tuple(sorted({symbol.c_name for symbol in symbols(data) if symbol.is_shown}))
