"""The files of a folder of records, line by line: ``FOLDER/<target>/<fingerprint>/*.jsonl``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import CompilerError
from compiler.tuning.record import Record, ScheduleRecord, from_line


class RecordError(CompilerError):
    """A folder of tuning records cannot be read, or holds what it should not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a file: a record, or what is wrong with it."""

    file: Path  # in the folder
    number: int  # from 1
    record: Record | None
    problem: str = ""

    @property
    def schedule(self) -> ScheduleRecord | None:
        """The record, None if it is of another kind."""
        return self.record if isinstance(self.record, ScheduleRecord) else None

    @property
    def complaint(self) -> str:
        return f"{self.file.as_posix()}:{self.number}: {self.problem}"


def require_folder(folder: Path) -> None:
    """Refuse what is no folder.

    Raises:
        RecordError: it is not there, or is a file.
    """
    if not folder.is_dir():
        raise RecordError(
            f"{folder} is not a folder of tuning records",
            why="it does not exist or is a file",
            fix="give a folder such as tuning_logs, or --records none",
        )


def record_files(folder: Path, *, target: str = "*", fingerprint: str = "*") -> list[Path]:
    """Return the paths of all record files of these, in `folder`, sorted."""
    return [
        path.relative_to(folder) for path in sorted(folder.glob(f"{target}/{fingerprint}/*.jsonl"))
    ]


def misplaced_files(folder: Path) -> list[Path]:
    """Return files of records that no build would find, since they lie elsewhere in `folder`."""
    found = {path.relative_to(folder) for path in folder.rglob("*.jsonl")}
    return sorted(found - set(record_files(folder)))


def read_file(folder: Path, file: Path) -> Iterator[Line]:
    """Yield each line of a file. Bytes that are no text, or half a line, are lines with a problem.

    A file that is gone meanwhile has no lines: what was worth keeping of it is in another one.
    """
    try:
        content = (folder / file).read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield _line(file, number, line)


def read_lines(folder: Path, *, target: str = "*", fingerprint: str = "*") -> Iterator[Line]:
    """Yield the lines of all files of these.

    Raises:
        RecordError: there is no such folder.
    """
    require_folder(folder)
    for file in record_files(folder, target=target, fingerprint=fingerprint):
        yield from read_file(folder, file)


def _line(file: Path, number: int, line: bytes) -> Line:
    try:
        record = from_line(line.decode("utf-8"))
    except ValueError as failure:  # UnicodeDecodeError is one
        return Line(file=file, number=number, record=None, problem=str(failure))
    if record.target.fingerprint != file.parent.name:
        problem = f"a record of another target ({record.target.name}) in this target's folder"
        return Line(file=file, number=number, record=None, problem=problem)
    return Line(file=file, number=number, record=record)
