"""What is in an object: code bytes and the symbols it needs from elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from compiler import mach_object

_EXECUTABLE = 0x4  # SHF_EXECINSTR
_SYMBOL_TABLE = 2  # SHT_SYMTAB
_UNDEFINED = 0  # SHN_UNDEF
_FUNCTION = 2  # STT_FUNC


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    entry_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Symbol:
    name: str
    kind: int
    section: int
    size: int


def _sections(code: bytes) -> list[_Section]:
    """Section headers of a little-endian ELF object, 32 or 64 bit. Source: System V ABI, ch. 4."""
    wide = code[4] == 2
    start = struct.unpack_from("<Q", code, 40)[0] if wide else struct.unpack_from("<I", code, 32)[0]
    size, count = struct.unpack_from("<HH", code, 58 if wide else 46)
    layout = "<IIQQQQIIQQ" if wide else "<IIIIIIIIII"
    sections = []
    for index in range(count):
        _, kind, flags, _, offset, length, link, _, _, entry = struct.unpack_from(
            layout, code, start + index * size
        )
        sections.append(_Section(kind, flags, offset, length, link, entry))
    return sections


def code_bytes(code: bytes) -> int:
    """Bytes of machine code in an ELF or Mach-O object."""
    if mach_object.is_mach(code):
        return mach_object.code_bytes(code)
    return sum(section.size for section in _sections(code) if section.flags & _EXECUTABLE)


def undefined_symbols(code: bytes) -> tuple[str, ...]:
    """C's names of what an ELF or Mach-O object expects from elsewhere, sorted."""
    if mach_object.is_mach(code):
        return mach_object.undefined_symbols(code)
    return tuple(sorted(set(_undefined(code))))


def function_bytes(code: bytes) -> dict[str, int]:
    """Bytes of each function in an ELF object, by its symbol."""
    return {entry.name: entry.size for entry in _entries(code) if entry.kind == _FUNCTION}


def _undefined(code: bytes) -> Iterator[str]:
    return (entry.name for entry in _entries(code) if entry.name and entry.section == _UNDEFINED)


def _entries(code: bytes) -> Iterator[_Symbol]:
    """What the symbol tables of an ELF object say."""
    wide = code[4] == 2
    layout = "<IBBHQQ" if wide else "<IIIBBH"
    sections = _sections(code)
    for section in sections:
        if section.kind != _SYMBOL_TABLE:
            continue
        for position in range(section.offset, section.offset + section.size, section.entry_size):
            fields = struct.unpack_from(layout, code, position)
            name, info, where, size = (
                (fields[0], fields[1], fields[3], fields[5])
                if wide
                else (fields[0], fields[3], fields[5], fields[2])
            )
            start = sections[section.link].offset + name
            text = code[start : code.index(b"\0", start)].decode()
            yield _Symbol(name=text, kind=info & 0xF, section=where, size=size)
