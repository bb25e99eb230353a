"""Named arrays in ``.npz`` files: what a user feeds to a model and gets back."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from compiler.errors import InputError


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file by name.

    Raises:
        InputError: the file cannot be read, is not ``.npz``, or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise _not_arrays(path, "it is not the zip file that numpy.savez writes")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as cause:
        raise InputError(
            f"{path}: cannot be read",
            why=cause.strerror or str(cause),
            fix="check the path and its permissions",
        ) from cause
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as cause:
        raise _not_arrays(path, str(cause)) from cause
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of any other member
            raise _not_arrays(path, f"`{name}` in it is no array")
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` file whole or not at all; a file that was there before stays until then."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            _save(file, arrays)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _save(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    # Not numpy.savez(file, **arrays): an ONNX value may well be called "file".
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _not_arrays(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: not a file of named arrays (.npz)",
        why=why,
        fix="write it with numpy.savez(path, **{input_name: array})",
    )
