"""Leave out of a folder the records that no build and no search needs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import chain, groupby
from pathlib import Path

from compiler.tuning.folder import Line, read_file, record_files, require_folder
from compiler.tuning.record import Record, ScheduleRecord, Verdict
from compiler.tuning.store import rank, ranked_choices, usable
from compiler.tuning.target_key import is_stale
from compiler.tuning.writer import locked


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """Lines that were left out, by reason, and files that were not touched."""

    kept: int = 0
    slower: int = 0
    repeated: int = 0
    stale: int = 0
    damaged: int = 0
    in_use: tuple[str, ...] = ()  # files that a writer has open

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )


def prune(
    folder: Path, *, keep: int, stale: bool, damaged: bool, target: str = "*", dry_run: bool = False
) -> Pruned:
    """Keep the best records of each workload and operator and all that failed; rewrite the files.

    A file changes as a whole or not at all; one that a writer has open stays as it is.

    Args:
        keep: how many usable schedules of a workload stay, and how many choices of an operator.
        stale: leave out all records by other tools than those here.
        damaged: leave out lines that are no records.
        dry_run: say what would be left out, and change nothing.

    Raises:
        RecordError: there is no such folder.
    """
    require_folder(folder)
    total = Pruned()
    # A fingerprint at a time: records of different ones have nothing to do with each other.
    for _, files in groupby(record_files(folder, target=target), key=lambda file: file.parent):
        with ExitStack() as stack:
            opened = [stack.enter_context(_OpenFile(folder, file)) for file in files]
            total += _pruned(opened, keep, stale, damaged, dry_run)
    return total


def _pruned(files: list[_OpenFile], keep: int, stale: bool, damaged: bool, dry_run: bool) -> Pruned:
    """Prune the files of one fingerprint, which nobody else changes: they are open and locked."""
    lines = [list(file.lines()) for file in files]
    best = _best_ids([line.record for each in lines for line in each if line.record], keep)
    counts: Counter[str] = Counter()
    in_use = []
    met: set[str] = set()
    for file, each in zip(files, lines, strict=True):
        if not file.is_ours:
            in_use.append(file.name)
            continue
        fates = [_fate(line, best, met, stale) for line in each]
        if not damaged:
            fates = ["kept" if fate == "damaged" else fate for fate in fates]
        counts.update(fates)
        if not dry_run and set(fates) - {"kept"}:
            kept = [line for line, fate in zip(each, fates, strict=True) if fate == "kept"]
            file.rewrite(kept)
    return Pruned(**counts, in_use=tuple(in_use))


def _best_ids(records: Iterable[Record], keep: int) -> set[str]:
    """Of one fingerprint. All records of a choice stay or go: their mean is what it is worth."""
    known = list(records)
    by_workload: dict[str, dict[str, ScheduleRecord]] = {}
    for record in usable(known):
        if isinstance(record, ScheduleRecord):
            by_workload.setdefault(record.workload, {})[record.id] = record
    best: list[Record] = []
    for each in by_workload.values():
        best += sorted(each.values(), key=rank)[:keep]
    for groups in ranked_choices(known).values():
        best += chain.from_iterable(groups[:keep])
    return {record.id for record in best}


def _fate(line: Line, best: set[str], met: set[str], stale: bool) -> str:
    record = line.record
    if record is None:
        return "damaged"
    if stale and is_stale(record.target):
        return "stale"
    if record.id in met:
        return "repeated"
    met.add(record.id)
    # What failed stays: a search must not try it again, and a build must not use it.
    failed = isinstance(record, Verdict) or not record.is_usable
    return "kept" if failed or record.id in best else "slower"


class _OpenFile:
    """A file of records, locked unless a writer has it."""

    def __init__(self, folder: Path, file: Path) -> None:
        self.name = file.as_posix()
        self._folder, self._relative = folder, file
        self._path = folder / file
        self._file = os.open(self._path, os.O_RDONLY)
        self.is_ours = locked(self._file)

    def lines(self) -> Iterable[Line]:
        return read_file(self._folder, self._relative)

    def rewrite(self, lines: Iterable[Line]) -> None:
        """Replace the file by one with these lines only, or remove it if there are none."""
        content = self._path.read_bytes().split(b"\n")
        text = b"".join(content[line.number - 1] + b"\n" for line in lines)
        if not text:
            self._path.unlink()
            return
        other = self._path.with_suffix(".pruned")
        with other.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        other.replace(self._path)

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
