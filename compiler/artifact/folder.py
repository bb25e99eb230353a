"""Make a folder all at once: a new artifact appears whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compiler.artifact.manifest import FORMAT, MANIFEST_NAME
from compiler.errors import ArtifactError


@contextmanager
def replaced_folder(destination: Path) -> Iterator[Path]:
    """Give an empty folder beside `destination`; it takes that name when the block succeeds.

    If the block raises, nothing is left, and what was at `destination` is untouched.

    Raises:
        ArtifactError: there is something at `destination` that is not an artifact, or it cannot
            be written.
    """
    destination = destination.resolve()
    _refuse_foreign(destination)
    created = _missing_parents(destination)
    work = _unused_sibling(destination)
    try:
        work.mkdir(parents=True)
        yield work
        _put_in_place(work, destination)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        for parent in created:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        # An inner call names the folder beside the destination, which the user never heard of.
        cause = error.__cause__ if isinstance(error, CannotWriteError) else error
        if isinstance(cause, OSError):
            raise cannot_write(destination, cause) from cause
        raise


def emptied(folder: Path) -> None:
    """Remove all that is in a folder, to begin again."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


class CannotWriteError(ArtifactError):
    """The disk is full, read-only or not this user's; the operating system's error is its cause."""


def cannot_write(destination: Path, cause: OSError) -> CannotWriteError:
    """Return the error for a disk that is full, read-only or not this user's."""
    return CannotWriteError(
        f"{destination} cannot be written",
        why=cause.strerror or str(cause),
        fix="free some space, or choose an output folder that this user may write to",
    )


def _refuse_foreign(destination: Path) -> None:
    if not os.path.lexists(destination):
        return
    try:
        is_ours = destination.is_dir() and (not any(destination.iterdir()) or _is_ours(destination))
    except OSError as cause:
        raise cannot_write(destination, cause) from cause
    if not is_ours:
        raise ArtifactError(
            f"{destination} exists and is not an artifact",
            why="only an empty folder or an older artifact is replaced",
            fix="choose another output folder, or remove this one",
        )


def _is_ours(folder: Path) -> bool:
    try:
        data = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get("format") == FORMAT


def _missing_parents(destination: Path) -> list[Path]:
    """Return the folders above `destination` that do not exist yet, innermost first."""
    return [parent for parent in destination.parents if not parent.exists()]


def _unused_sibling(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}-{secrets.token_hex(8)}")


def _put_in_place(work: Path, destination: Path) -> None:
    """Rename `work` to `destination`; a folder cannot be renamed over one that is not empty."""
    if not destination.exists():
        work.rename(destination)
        return
    old = _unused_sibling(destination)
    destination.rename(old)
    try:
        work.rename(destination)
    except OSError:
        old.rename(destination)
        raise
    shutil.rmtree(old, ignore_errors=True)
