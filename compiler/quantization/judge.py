"""How good a quantized model is: on labels, else by its agreement with the float model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from compiler.errors import InputError
from compiler.onnx_import.model import Model
from compiler.quantization.network import Network
from compiler.quantization.samples import Samples, stopped

Answer = Callable[[Mapping[str, np.ndarray]], Any]

CLASS = "class"
CLOSENESS = "closeness"
OWN = "own"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Shares of 1: right by the labels (None without labels), and as the float model says."""

    accuracy: float | None
    agreement: float

    @property
    def counted(self) -> float:
        """What limits are held to: accuracy where there are labels, else agreement."""
        return self.agreement if self.accuracy is None else self.accuracy


class Judge:
    """Scores models on samples that were not calibrated with, if the user gave enough.

    An answer is a class (the largest number of the only output [batch, classes]), or what the
    user's function makes of the outputs. Where there is none, agreement is closeness: 1 less the
    root mean square error relative to the float outputs, at least 0.
    """

    def __init__(self, model: Model, samples: Samples, answer: Answer | None = None) -> None:
        self._samples = samples
        self.kind = OWN if answer else _kind(model)
        self._answer = answer or (_largest if self.kind == CLASS else None)
        if samples.labels is not None:
            self._check_labels(model)
        network = Network(model.proto)
        self._float = [self._reduced(network.run(sample)) for sample in samples.inputs]
        self.float_score = self._score(self._float)

    def score(self, network: Network) -> Score:
        """Return how good a model is on all samples."""
        return self._score([self._reduced(network.run(sample)) for sample in self._samples.inputs])

    @property
    def count(self) -> int:
        """How many samples it judges by."""
        return len(self._samples.inputs)

    def _reduced(self, outputs: Mapping[str, np.ndarray]) -> Any:
        """Return the answer; all outputs where there is none."""
        if self._answer is None:
            return dict(outputs)
        try:
            return self._answer(outputs)
        except Exception as error:  # whatever the user's code raises
            raise stopped(getattr(self._answer, "__name__", "the answer"), error) from error

    def _score(self, answers: list[Any]) -> Score:
        pairs = list(zip(answers, self._float, strict=True))
        if self._answer is None:
            return Score(accuracy=None, agreement=float(np.mean([_closeness(*p) for p in pairs])))
        labels = self._samples.labels
        right = None
        if labels is not None:
            given = zip(answers, labels, strict=True)
            right = float(np.mean([_share_equal(answer, label) for answer, label in given]))
        return Score(
            accuracy=right, agreement=float(np.mean([_share_equal(*pair) for pair in pairs]))
        )

    def _check_labels(self, model: Model) -> None:
        labels = self._samples.labels or ()
        if self.kind == CLOSENESS:
            raise InputError(
                "the labels cannot be compared with what the model gives",
                why="it has not one output [batch, classes] of float numbers",
                fix="name a function that makes a label of the outputs with --answer",
            )
        if self.kind == OWN:
            return
        rows, classes = model.outputs[0].shape
        values = np.concatenate(labels)
        if values.dtype.kind not in "iu" or values.size != rows * len(labels):
            raise InputError(
                f"labels are {values.size} of {values.dtype} for {rows * len(labels)} results",
                why="the answer of this model is the number of a class",
                fix="give one integer for each result, or name a function with --answer",
            )
        if values.min() < 0 or values.max() >= classes:
            raise InputError(
                f"labels go from {values.min()} to {values.max()}",
                why=f"the model knows classes 0 to {classes - 1}",
                fix="give the numbers of classes as the model counts them",
            )


def _kind(model: Model) -> str:
    """Return what the outputs are, as far as shapes tell."""
    shapes = [output.shape for output in model.outputs if output.dtype == "float32"]
    classes = len(model.outputs) == 1 and len(shapes) == 1 and len(shapes[0]) == 2
    return CLASS if classes and shapes[0][1] > 1 else CLOSENESS


def _largest(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(next(iter(outputs.values())).argmax(axis=-1))


def _share_equal(one: Any, other: Any) -> float:
    """Return the share of equal answers: of a batch, or of one."""
    first, second = np.ravel(np.asarray(one)), np.ravel(np.asarray(other))
    return float(np.mean(first == second)) if first.shape == second.shape else 0.0


def _closeness(outputs: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    return max(0.0, 1.0 - sqrt(relative_noise(outputs, wanted)))


def relative_noise(outputs: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """Return the largest power of the error of any output, relative to the power of that output."""
    ratios = [0.0]
    for name, array in wanted.items():
        error = outputs[name].astype(np.float64) - array
        power = float(np.mean(np.square(array.astype(np.float64))))
        ratios.append(float(np.mean(np.square(error))) / max(power, np.finfo(np.float64).tiny))
    return max(ratios)
