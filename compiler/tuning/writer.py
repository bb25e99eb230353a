"""Append records to a file that belongs to one writer."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType

from compiler.tuning.folder import RecordError
from compiler.tuning.record import Record, to_line
from compiler.tuning.target_key import TargetKey


class RecordWriter:
    """Records of one target go to a new file; when `append` returns, the record is kept.

    Each writer has a file of its own and holds a lock on it, so writers never wait for one another
    and `logs prune` leaves a file alone that is being written. A killed writer loses at most the
    record that it was writing, whose half line readers pass over.
    """

    def __init__(self, folder: Path, key: TargetKey) -> None:
        """Create the file.

        Raises:
            RecordError: the target's name cannot be that of a folder.
            OSError: the file cannot be created.
        """
        self._key = key
        if not key.name or "/" in key.name or key.name.startswith("."):
            raise RecordError(
                f"records of a target called `{key.name}` cannot be kept",
                why="the name is that of a folder among the records",
                fix="give the target a name without `/` that does not begin with a dot",
            )
        parent = folder / key.name / key.fingerprint
        parent.mkdir(parents=True, exist_ok=True)
        self.path, self._file = _new_file(parent)

    def append(self, record: Record) -> None:
        """Write the record to the disk.

        Raises:
            RecordError: it is of another target.
            OSError: it could not be written; then nothing of it is in the file.
        """
        if record.target.fingerprint != self._key.fingerprint:
            raise RecordError(
                f"a record of {record.target.name} does not belong to {self._key.name}",
                why="a record is used by builds of exactly its target",
                fix="open a writer for the record's own target",
            )
        end = os.lseek(self._file, 0, os.SEEK_END)
        rest = to_line(record).encode()
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)  # else the next record would be on half a line
            raise

    def close(self) -> None:
        """Release the file; one without records is removed."""
        if os.fstat(self._file).st_size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def locked(file: int) -> bool:
    """Try to lock an open file; return whether nobody else has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _new_file(parent: Path) -> tuple[Path, int]:
    """Create and lock a file; again if someone removed it between the two."""
    while True:
        path = parent / f"{secrets.token_hex(8)}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        if locked(file) and path.exists():
            return path, file
        os.close(file)
