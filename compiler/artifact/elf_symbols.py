"""Give every global symbol of an ELF object the model's prefix, and hide it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_MAGIC = b"\x7fELF"
_SECTION_TYPE_SYMTAB = 2
_LOCAL_BINDING = 0
_UNDEFINED_SECTION = 0
_HIDDEN = 2


@dataclass(frozen=True, slots=True)
class _Layout:
    """Formats and field positions of one ELF class, as in elf.h."""

    section: str  # Elf_Shdr
    symbol: str  # Elf_Sym
    header_sections: tuple[str, int]  # e_shoff: format, position
    header_section_count: int  # position of e_shnum
    name: int = 0
    info: int = 0
    other: int = 0
    shndx: int = 0


_ELF32 = _Layout("10I", "3I2BH", ("I", 32), 48, name=0, info=3, other=4, shndx=5)
_ELF64 = _Layout("2I4Q2I2Q", "I2BH2Q", ("Q", 40), 60, name=0, info=1, other=2, shndx=3)


def is_elf(code: bytes) -> bool:
    return code[:4] == _MAGIC


def with_prefixed_symbols(
    code: bytes, rename: Callable[[str], str], ours: frozenset[str] = frozenset()
) -> bytes:
    """As `object_symbols.with_prefixed_symbols`, for ELF objects."""
    order = "<" if code[5] == 1 else ">"
    layout = _ELF64 if code[4] == 2 else _ELF32
    out = bytearray(code)
    for headers, index, link in _symbol_tables(code, order, layout):
        _rename_in_table(out, headers[index], headers[link], order, layout, rename, ours)
    return bytes(out)


def _symbol_tables(
    code: bytes, order: str, layout: _Layout
) -> Iterator[tuple[list[tuple[int, ...]], int, int]]:
    """Yield all section headers with the numbers of a symbol table and of its strings.

    Each header is followed by its own position in the file.
    """
    kind, at = layout.header_sections
    (start,) = struct.unpack_from(order + kind, code, at)
    (count,) = struct.unpack_from(order + "H", code, layout.header_section_count)
    size = struct.calcsize(order + layout.section)
    headers = [
        (*struct.unpack_from(order + layout.section, code, start + i * size), start + i * size)
        for i in range(count)
    ]
    for index, header in enumerate(headers):
        if header[1] == _SECTION_TYPE_SYMTAB:
            yield headers, index, header[6]


def _rename_in_table(
    out: bytearray,
    symbols: tuple[int, ...],
    strings: tuple[int, ...],
    order: str,
    layout: _Layout,
    rename: Callable[[str], str],
    ours: frozenset[str],
) -> None:
    """Hide symbols; point renamed ones into a copy of the string table at the end of the file."""
    table = bytearray(out[strings[4] : strings[4] + strings[5]])
    entry = order + layout.symbol
    for at in range(symbols[4], symbols[4] + symbols[5], struct.calcsize(entry)):
        fields = list(struct.unpack_from(entry, out, at))
        is_global = fields[layout.info] >> 4 != _LOCAL_BINDING
        name = table[fields[layout.name] : table.index(0, fields[layout.name])].decode()
        is_foreign = fields[layout.shndx] == _UNDEFINED_SECTION and name not in ours
        if not is_global or is_foreign:
            continue
        if rename(name) != name:
            fields[layout.name] = len(table)
            table += rename(name).encode() + b"\0"
        fields[layout.other] |= _HIDDEN
        struct.pack_into(entry, out, at, *fields)
    if len(table) > strings[5]:
        header = list(strings[:-1])
        header[4], header[5] = len(out), len(table)
        struct.pack_into(order + layout.section, out, strings[-1], *header)
        out += table
