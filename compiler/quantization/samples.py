"""Calibration data: from an .npz file, a folder of arrays or a Python function."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.array_files import read_arrays
from compiler.errors import InputError
from compiler.onnx_import.model import TensorInfo
from compiler.quantization.sample_checks import check_samples, checked_labels

LABELS = "labels"  # the name of an array that is not an input

Sample = dict[str, np.ndarray]
Source = str | os.PathLike[str] | Mapping[str, np.ndarray] | Callable[[], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs of single runs, and what the model should say of each, if that is known."""

    inputs: tuple[Sample, ...]
    labels: tuple[np.ndarray, ...] | None = None  # one array for each run: [rows of the batch]

    def chosen(self, positions: Sequence[int]) -> Samples:
        """Return the samples at these positions."""
        labels = None if self.labels is None else tuple(self.labels[i] for i in positions)
        return Samples(tuple(self.inputs[i] for i in positions), labels)


def read_samples(
    source: Source,
    infos: Sequence[TensorInfo],
    labels: str | os.PathLike[str] | np.ndarray | None = None,
) -> Samples:
    """Return the samples that `source` holds, checked against the model's inputs.

    Args:
        source: an ``.npz`` of arrays by input name; a folder of ``.npz`` files of that kind, or
            of ``.npy`` files for a model of one input; a function that yields dictionaries of
            arrays, or its name, as ``module:function`` or ``file.py:function``; or arrays by
            input name. An array is what one run takes, or has the samples along an axis before
            that, or along axis 0: then a run takes as many rows as the model's batch. Beside
            the inputs there may be ``labels``.
        labels: one for each sample; an ``.npy`` file or an array.

    Raises:
        InputError: the source cannot be read, or holds what the model cannot be calibrated with.
    """
    parts = list(_parts(source, infos))
    found: list[Sample] = []
    own_labels: list[np.ndarray] = []
    for origin, arrays in parts:
        own_labels += [np.atleast_1d(arrays[name]) for name in arrays if name == LABELS]
        found += _split(origin, {k: v for k, v in arrays.items() if k != LABELS}, infos)
    check_samples(found, infos, str(source) if isinstance(source, str | os.PathLike) else "data")
    given = _read_labels(labels)
    if given is None and own_labels:
        given = np.concatenate(own_labels)
    return Samples(tuple(found), None if given is None else checked_labels(given, len(found)))


def _parts(
    source: Source, infos: Sequence[TensorInfo]
) -> Iterable[tuple[str, Mapping[str, np.ndarray]]]:
    """Yield dictionaries of arrays, each with where it is from."""
    if isinstance(source, Mapping):
        yield "the arrays", source
    elif callable(source):
        yield from _yielded(source, getattr(source, "__name__", "the function"))
    else:
        text, path = os.fspath(source), Path(source)
        if path.is_dir():
            yield from _folder(path, infos)
        elif ":" in text and not path.exists():
            yield from _yielded(load_function(text), text)
        else:
            yield str(path), read_arrays(path)


def _yielded(
    function: Callable[[], Iterable[Any]], name: str
) -> Iterable[tuple[str, Mapping[str, np.ndarray]]]:
    for position, item in enumerate(_items(function, name)):
        if not isinstance(item, Mapping) or not all(isinstance(k, str) for k in item):
            raise InputError(
                f"{name} yields a {type(item).__name__}",
                why="each sample is a dictionary of arrays by input name",
                fix="yield {input_name: array}",
            )
        yield (
            f"sample {position} of {name}",
            {key: np.asarray(value) for key, value in item.items()},
        )


def _items(function: Callable[[], Iterable[Any]], name: str) -> Iterable[Any]:
    try:
        yield from function()
    except Exception as error:  # whatever the user's code raises
        raise stopped(name, error) from error


def stopped(name: str, error: Exception) -> InputError:
    """Return the error for a function of the user's that raised one."""
    return InputError(
        f"{name} stopped with {type(error).__name__}",
        why=str(error) or "it gives no reason",
        fix="mend the function",
    )


def _folder(
    path: Path, infos: Sequence[TensorInfo]
) -> Iterable[tuple[str, Mapping[str, np.ndarray]]]:
    """Yield the arrays of each file, in the order of the names; ``labels.npy`` holds labels."""
    files = sorted(f for f in path.iterdir() if f.suffix in (".npy", ".npz"))
    for file in files:
        if file.suffix == ".npz":
            yield str(file), read_arrays(file)
        elif file.stem == LABELS:
            yield str(file), {LABELS: _read_array(file)}
        elif len(infos) != 1:
            raise InputError(
                f"{file}: an .npy file names no input",
                why=f"the model has {len(infos)} inputs",
                fix="write .npz files with one array for each input",
            )
        else:
            yield str(file), {infos[0].name: _read_array(file)}


def _read_labels(labels: str | os.PathLike[str] | np.ndarray | None) -> np.ndarray | None:
    if labels is None or isinstance(labels, np.ndarray):
        return labels
    return _read_array(Path(labels))


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as cause:
        raise InputError(
            f"{path}: cannot be read",
            why=cause.strerror or str(cause),
            fix="check the path and its permissions",
        ) from cause
    except (ValueError, EOFError) as cause:
        raise _no_array(path, str(cause)) from cause
    if not isinstance(array, np.ndarray):
        raise _no_array(path, "it holds several arrays")
    return array


def _no_array(path: Path, why: str) -> InputError:
    return InputError(f"{path}: not an array (.npy)", why=why, fix="write it with numpy.save")


def _split(
    origin: str, arrays: Mapping[str, np.ndarray], infos: Sequence[TensorInfo]
) -> list[Sample]:
    """Return the single runs that the arrays hold."""
    expected = {info.name: info for info in infos}
    if not arrays:  # labels alone
        return []
    for name in [*arrays.keys() - expected.keys(), *expected.keys() - arrays.keys()]:
        raise InputError(
            f"{origin}: input {name!r} is "
            f"{'missing' if name in expected else 'not an input of the model'}",
            why=f"the model's inputs are: {', '.join(expected)}",
            fix=f"give one array for each input under its ONNX name, and labels as {LABELS!r}",
        )
    runs = {name: _runs(origin, arrays[name], info) for name, info in expected.items()}
    counts = {name: len(items) for name, items in runs.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"{origin}: the inputs hold different numbers of samples",
            why=", ".join(f"{name}: {count}" for name, count in counts.items()),
            fix="give as many samples for each input",
        )
    return [dict(zip(runs, items, strict=True)) for items in zip(*runs.values(), strict=True)]


def _runs(origin: str, array: np.ndarray, info: TensorInfo) -> Sequence[np.ndarray]:
    """Return what each run takes from an array."""
    if str(array.dtype) == info.dtype:
        if array.ndim == len(info.shape) + 1 and array.shape[1:] == info.shape:
            return list(array)
        if array.ndim == len(info.shape) > 0 and array.shape[1:] == info.shape[1:]:
            count, rest = divmod(array.shape[0], info.shape[0])
            if not rest:
                return list(array.reshape(count, *info.shape))
        if array.shape == info.shape:
            return [array]
    raise InputError(
        f"{origin}: input {info.name!r} is {array.dtype}{list(array.shape)}",
        why=f"the model takes {info.dtype}{list(info.shape)} in a run; samples may lie along an "
        "axis before that, or as whole batches along axis 0",
        fix="convert the array, or give the model's shape with --shape",
    )


def load_function(text: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` or ``file.py:function`` names.

    Raises:
        InputError: there is no such module, file or function.
    """
    place, _, name = text.rpartition(":")
    try:
        module = (
            _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        )
        function = getattr(module, name)
    except (ImportError, OSError, AttributeError, SyntaxError, ValueError) as cause:
        raise InputError(
            f"{text}: no such function",
            why=str(cause) or type(cause).__name__,
            fix="name it as module:function, or as file.py:function",
        ) from cause
    if not callable(function):
        raise InputError(
            f"{text}: not a function",
            why=f"it is a {type(function).__name__}",
            fix="name a function",
        )
    return function  # type: ignore[no-any-return]


def _load_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
