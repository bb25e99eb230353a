"""The constants of a program as one blob, and the sources that put it into the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compiler.artifact.render import render

WeightsForm = Literal["incbin", "c", "bytes"]
WEIGHT_ALIGNMENT = 64  # a cache line, and the widest vector register of any CPU target
BARE_ALIGNMENT = 8  # the largest element; padding is flash
_BYTES_PER_LINE = 32
_NUMBERS_PER_LINE = 16
_OCTAL = tuple(f"\\{byte:03o}" for byte in range(256))


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsBlob:
    """All constants, equal ones once, each at a multiple of an alignment."""

    data: bytes
    offsets: dict[int, int]  # by storage value id


def pack_weights(
    constants: Mapping[int, np.ndarray], alignment: int = WEIGHT_ALIGNMENT
) -> WeightsBlob:
    """Return the blob of `constants`, in the order of their value ids."""
    parts: list[bytes] = []
    size = 0
    offset_of: dict[bytes, int] = {}
    offsets = {}
    for value in sorted(constants):
        data = np.ascontiguousarray(constants[value]).tobytes()
        if data not in offset_of:
            padded = data.ljust(-len(data) % alignment + len(data), b"\0")
            offset_of[data] = size
            parts.append(padded)
            size += len(padded)
        offsets[value] = offset_of[data]
    return WeightsBlob(data=b"".join(parts), offsets=offsets)


def weights_sources(
    blob: WeightsBlob, form: WeightsForm, prefix: str, assembler: str = "weights.S.j2"
) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content); the first one is the file to compile.

    ``incbin`` needs an assembler of the GNU kind; ``c`` needs nothing but a C99 compiler whose
    strings may be long, and compiles about twenty times slower. ``bytes`` is for strict C99,
    which promises strings of 4,095 characters only.

    Args:
        assembler: the template for ``incbin``; `LibraryForm` has it.
    """
    data = blob.data or bytes(WEIGHT_ALIGNMENT)  # C knows no empty array
    if form == "incbin":
        source = render(
            assembler,
            prefix=prefix,
            alignment=WEIGHT_ALIGNMENT,
            alignment_log2=WEIGHT_ALIGNMENT.bit_length() - 1,
        )
        yield f"{prefix}_weights.S", source.encode()
        yield f"{prefix}_weights.bin", data
        return
    if form == "bytes":
        yield f"{prefix}_weights.c", _bytes_source(data).encode()
        return
    source = render(
        "weights.c.j2", alignment=WEIGHT_ALIGNMENT, size=len(data), lines=string_lines(data)
    )
    yield f"{prefix}_weights.c", source.encode()


def string_lines(data: bytes) -> list[str]:
    """Return C string literals that hold `data`, line by line."""
    return [
        '"' + "".join(_OCTAL[byte] for byte in data[start : start + _BYTES_PER_LINE]) + '"'
        for start in range(0, len(data), _BYTES_PER_LINE)
    ]


def _bytes_source(data: bytes) -> str:
    rows = (
        data[start : start + _NUMBERS_PER_LINE] for start in range(0, len(data), _NUMBERS_PER_LINE)
    )
    lines = [", ".join(map(str, row)) for row in rows]
    return render("weights_bytes.c.j2", alignment=BARE_ALIGNMENT, size=len(data), lines=lines)
