"""What dyld makes of a library in memory: segments at their addresses, pointers filled in.

Source of the opcodes: <mach-o/loader.h>, REBASE_OPCODE_* and BIND_OPCODE_*.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tests.macos import command_data, uleb

_SEGMENT, _DYLD_INFO = 0x19, 0x8000_0022


@dataclass(frozen=True, slots=True)
class Image:
    """The memory of a library at some address, and the places that wait for functions of libc."""

    data: bytes
    imports: dict[int, str]  # offset of a pointer -> symbol, with underscore


def load_image(library: bytes, base: int) -> Image:
    """Return the library as it is in memory at the address `base`."""
    segments = [
        struct.unpack_from("<4Q", words, 24) for words in command_data(library, _SEGMENT)
    ]  # address, size in memory, place in the file, size there
    data = bytearray(max(address + size for address, size, _, _ in segments))
    for address, _, place, size in segments:
        data[address : address + size] = library[place : place + size]
    starts = [address for address, _, _, _ in segments]
    (info,) = command_data(library, _DYLD_INFO)
    rebases, binds, weak, lazy, _ = (struct.unpack_from("<2I", info, 8 + 8 * i) for i in range(5))
    assert weak[1] == 0
    for at in _rebased(_part(library, rebases), starts):
        (address,) = struct.unpack_from("<Q", data, at)
        struct.pack_into("<Q", data, at, address + base)
    imports: dict[int, str] = {}
    for place in (binds, lazy):
        imports |= dict(_bound(_part(library, place), starts))
    return Image(bytes(data), imports)


def _part(library: bytes, place: tuple[int, ...]) -> bytes:
    start, size = place
    return library[start : start + size]


def _rebased(words: bytes, starts: list[int]) -> Iterator[int]:
    """Yield the offsets of pointers into the library itself."""
    at = place = 0
    while at < len(words):
        opcode, low = words[at] & 0xF0, words[at] & 0x0F
        at += 1
        count, step = 0, 8
        if opcode == 0x20:
            offset, at = uleb(words, at)
            place = starts[low] + offset
        elif opcode == 0x30:
            more, at = uleb(words, at)
            place += more
        elif opcode == 0x40:
            place += low * 8
        elif opcode == 0x50:
            count = low
        elif opcode in (0x60, 0x80):
            count, at = uleb(words, at)
        elif opcode == 0x70:
            count = 1
        elif opcode not in (0x00, 0x10):
            raise AssertionError(f"rebase opcode {opcode:#x}")
        if opcode in (0x70, 0x80):
            skipped, at = uleb(words, at)
            step += skipped
        for _ in range(count):
            yield place
            place += step


def _bound(words: bytes, starts: list[int]) -> Iterator[tuple[int, str]]:
    """Yield (offset of a pointer, symbol); entries of lazy ones are each ended by a zero."""
    at = place = 0
    name = ""
    while at < len(words):
        opcode, low = words[at] & 0xF0, words[at] & 0x0F
        at += 1
        if opcode == 0x40:
            end = words.index(0, at)
            name, at = words[at:end].decode(), end + 1
        elif opcode == 0x70:
            offset, at = uleb(words, at)
            place = starts[low] + offset
        elif opcode == 0x80:
            more, at = uleb(words, at)
            place = (place + more) % 2**64  # may go back
        elif opcode in (0x90, 0xA0, 0xB0):
            yield place, name
            place += 8 + (low * 8 if opcode == 0xB0 else 0)
            if opcode == 0xA0:
                more, at = uleb(words, at)
                place = (place + more) % 2**64
        elif opcode not in (0x00, 0x10, 0x50):
            raise AssertionError(f"bind opcode {opcode:#x}")
