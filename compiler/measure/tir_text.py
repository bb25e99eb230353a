"""Kernels as text to read: TVM's script without its noise, and two of them side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from html import escape
from typing import Any

# What a block reads and writes: TVM finds it out of the block itself.
_REGIONS = ("T.reads(", "T.writes(")
_WIDE_LITERAL = re.compile(r"T\.int64\((-?\d+)\)")
_STYLES = {"-": "background:#fbe3e4", "+": "background:#e0f3e3", " ": ""}
_CELL = "vertical-align:top;text-align:left;white-space:pre;padding:0 1em 0 0"


def readable_tir(func: Any) -> str:
    """Return a PrimFunc as TVM's script, for reading.

    64-bit numbers are plain ones (``8``, not ``T.int64(8)``); imports and the regions of blocks are
    left out. `PrimFunc.script()` has them.
    """
    lines = (line for line in func.script().splitlines() if not line.startswith("#"))
    kept = (line for line in lines if not line.lstrip().startswith(_REGIONS))
    return _WIDE_LITERAL.sub(r"\1", "\n".join(kept)).strip() + "\n"


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SideBySide:
    """Two texts, line beside line; a notebook shows two columns, `print` what differs."""

    names: tuple[str, str]
    texts: tuple[str, str]

    @property
    def rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """(mark, left line, mark, right line); a mark is "-" or "+" where they differ, else " "."""
        return tuple(self._rows())

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        left, right = (text.splitlines() for text in self.texts)
        matcher = SequenceMatcher(None, left, right, autojunk=False)
        for kind, left_from, left_to, right_from, right_to in matcher.get_opcodes():
            ours, theirs = left[left_from:left_to], right[right_from:right_to]
            marks = (" ", " ") if kind == "equal" else ("-", "+")
            for number in range(max(len(ours), len(theirs))):
                one = (marks[0], ours[number]) if number < len(ours) else (" ", "")
                other = (marks[1], theirs[number]) if number < len(theirs) else (" ", "")
                yield (*one, *other)

    def __repr__(self) -> str:
        left, right = (text.splitlines() for text in self.texts)
        return "\n".join(unified_diff(left, right, *self.names, lineterm="", n=2))

    def _repr_html_(self) -> str:
        heads = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in self.names)
        rows = "\n".join(
            f"<tr>{_cell(left_mark, left)}{_cell(right_mark, right)}</tr>"
            for left_mark, left, right_mark, right in self.rows
        )
        return (
            '<div style="overflow-x:auto"><table style="font-family:monospace;font-size:85%">\n'
            f"<tr>{heads}</tr>\n{rows}\n</table></div>"
        )


def _cell(mark: str, line: str) -> str:
    return f'<td style="{_CELL};{_STYLES[mark]}">{mark} {escape(line)}</td>'
