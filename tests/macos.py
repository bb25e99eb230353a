"""Libraries for macOS, made on any machine and read by hand: what dyld would look at."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.mach_object import load_commands
from compiler.toolchain import find_toolchain, run_tool

MACOS_CC = ("zig", "cc", "-target", "aarch64-macos.12.0")
ARM64, DYLIB = 0x0100_000C, 6  # CPU_TYPE_ARM64, MH_DYLIB
ID_DYLIB, LOAD_DYLIB, BUILD_VERSION = 0xD, 0xC, 0x32  # LC_...
_DYLD_INFO, _EXPORTS_TRIE, _SIGNATURE = 0x8000_0022, 0x8000_0033, 0x1D
_CODE_DIRECTORY = 0xFADE_0C02


def compile_for_macos(source: str, folder: Path, *, name: str = "made.c") -> bytes:
    """Return the object of a source in C, or in assembly if `name` ends in ``.S``."""
    pytest.importorskip("ziglang")
    (folder / name).write_text(source, encoding="ascii")
    cc = find_toolchain(MACOS_CC).cc
    run_tool((*cc, "-O1", "-g0", "-fno-builtin", "-c", name, "-o", "made.o"), folder=folder)
    return (folder / "made.o").read_bytes()


def link_for_macos(folder: Path, *words: str) -> None:
    run_tool((*find_toolchain(MACOS_CC).cc, *words), folder=folder)


def command_data(library: bytes, kind: int) -> list[bytes]:
    """Return the load commands of one kind, each whole."""
    found = (command for command in load_commands(library) if command.kind == kind)
    return [library[command.offset : command.offset + command.size] for command in found]


def library_name(command: bytes) -> str:
    """Return the name in a command of a library: of itself, or of one that it needs."""
    (start,) = struct.unpack_from("<I", command, 8)
    return command[start:].split(b"\0", 1)[0].decode()


def exports(library: bytes) -> dict[str, int]:
    """Return what dyld finds in the library: symbols, with underscores, and their addresses."""
    # Linkers write one or the other: export_off of dyld_info_command, or a linkedit_data_command.
    (place,) = (
        *(words[40:48] for words in command_data(library, _DYLD_INFO)),
        *(words[8:16] for words in command_data(library, _EXPORTS_TRIE)),
    )
    start, size = struct.unpack("<2I", place)
    return dict(_trie_words(library[start : start + size], 0, ""))


def _trie_words(trie: bytes, at: int, before: str) -> Iterator[tuple[str, int]]:
    size, at = uleb(trie, at)
    if size:
        _, address_at = uleb(trie, at)  # flags
        yield before, uleb(trie, address_at)[0]
    at += size
    children = trie[at]
    at += 1
    for _ in range(children):
        end = trie.index(0, at)
        more = trie[at:end].decode()
        child, at = uleb(trie, end + 1)
        yield from _trie_words(trie, child, before + more)


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def wrong_pages(library: bytes) -> list[int]:
    """Return the pages that differ from the hashes in the signature, whose other facts are checked.

    Layout: xnu, osfmk/kern/cs_blobs.h. Numbers are big-endian there.
    """
    (command,) = command_data(library, _SIGNATURE)
    start, _ = struct.unpack_from("<2I", command, 8)
    offset = struct.unpack_from(">I", library, start + 16)[0]  # of the first blob
    directory = start + offset
    magic, _, _, flags, hashes, _, _, count, limit = struct.unpack_from(">9I", library, directory)
    assert magic == _CODE_DIRECTORY
    assert flags & 0x2  # CS_ADHOC
    assert limit == start  # all of the file before the signature
    hash_size, hash_kind, _, page_bits = struct.unpack_from("4B", library, directory + 36)
    assert (hash_size, hash_kind) == (32, 2)  # SHA-256
    wrong = []
    for page in range(count):
        data = library[page << page_bits : min((page + 1) << page_bits, limit)]
        at = directory + hashes + page * hash_size
        if hashlib.sha256(data).digest() != library[at : at + hash_size]:
            wrong.append(page)
    assert (count - 1) << page_bits < limit <= count << page_bits
    return wrong


def archive_members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of an archive in BSD's form, which ld of macOS reads."""
    assert archive.startswith(b"!<arch>\n")
    at = 8
    while at < len(archive):
        header, size = archive[at : at + 60], int(archive[at + 48 : at + 58])
        assert header.startswith(b"#1/")  # the name's length: it begins the content
        name_size = int(header[3:16])
        content = archive[at + 60 : at + 60 + size]
        yield content[:name_size].rstrip(b"\0").decode(), content[name_size:]
        at += 60 + size + size % 2
