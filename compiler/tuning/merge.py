"""Bring the records of other folders into one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from compiler.tuning.folder import read_lines, require_folder
from compiler.tuning.writer import RecordWriter


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What became of the lines of the sources."""

    added: int
    known: int  # the destination had the same record
    passed_over: tuple[str, ...]  # "folder/file:line: why"


def merge(sources: Sequence[Path], destination: Path) -> Merged:
    """Append every record of `sources` that `destination` lacks; the sources stay as they are.

    Raises:
        RecordError: a source is no folder.
    """
    for source in sources:
        require_folder(source)  # before anything is written
    destination.mkdir(parents=True, exist_ok=True)
    known = {line.record.id for line in read_lines(destination) if line.record is not None}
    added = met = 0
    passed_over: list[str] = []
    writers: dict[str, RecordWriter] = {}
    with ExitStack() as open_files:
        for source in sources:
            for line in read_lines(source):
                record = line.record
                if record is None:
                    passed_over.append(f"{source}/{line.complaint}")
                    continue
                if record.id in known:
                    met += 1
                    continue
                key = record.target
                if key.fingerprint not in writers:
                    writer = RecordWriter(destination, key)
                    writers[key.fingerprint] = open_files.enter_context(writer)
                writers[key.fingerprint].append(record)
                known.add(record.id)
                added += 1
    return Merged(added=added, known=met, passed_over=tuple(passed_over))
