"""Refuse samples and labels that would make a model without use, and say which they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compiler.errors import InputError
from compiler.onnx_import.model import TensorInfo


def check_samples(
    samples: Sequence[Mapping[str, np.ndarray]], infos: Sequence[TensorInfo], origin: str
) -> None:
    """Raise InputError unless there are samples, all finite, that exercise each float input.

    Integers may well be the same everywhere: masks, token types.
    """
    if not samples:
        raise InputError(
            f"{origin}: there are no samples",
            why="ranges are measured by running the model on samples",
            fix="give some dozens of inputs that are like those of later use",
        )
    for info in infos:
        if np.dtype(info.dtype).kind != "f":
            continue
        arrays = [sample[info.name] for sample in samples]
        for position, array in enumerate(arrays):
            if not np.isfinite(array).all():
                raise InputError(
                    f"{origin}: input {info.name!r} of sample {position} holds NaN or infinity",
                    why="a range with them has no scale",
                    fix="leave that sample out, or mend it",
                )
        low = min(float(array.min()) for array in arrays)
        high = max(float(array.max()) for array in arrays)
        if low == high:
            raise InputError(
                f"{origin}: input {info.name!r} is {low + 0.0:g} in all {len(samples)} samples",
                why="nothing is learnt of the ranges from a constant",
                fix="give inputs that are like those of later use",
            )


def checked_labels(labels: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Return the labels of each of `count` runs, as arrays of one axis.

    Raises:
        InputError: they are not one row each, or not as many as the samples or a multiple of it.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iuUSb":
        raise InputError(
            f"labels are {labels.dtype}{list(labels.shape)}",
            why="a label is the number of a class, or a text, one for each sample",
            fix="give a one-dimensional array of integers or of strings",
        )
    if labels.size == 0 or labels.size % count:
        raise InputError(
            f"there are {labels.size} labels for {count} samples",
            why="each sample needs one",
            fix="give labels of the same samples in the same order",
        )
    return tuple(labels.reshape(count, -1))
