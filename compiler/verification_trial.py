"""Which inputs a library is tried on: given ones, or drawn ones that tell right from wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compiler.onnx_import.model import Model
from compiler.verification.comparison import LARGEST_UNCERTAINTY
from compiler.verification.exercise import unexercised
from compiler.verification.graph_walk import GraphWalk
from compiler.verification.reference import Reference
from compiler.verification_inputs import Arrays, checked_inputs, draw_inputs, read_inputs

GivenInputs = str | Path | Mapping[str, np.ndarray] | None

SEEDS = (0, 1, 2)
# Tried in turn: on plain noise a softmax may saturate, or a sigmoid end in numbers so small that
# onnxruntime's own answer depends on how it is asked.
SCALES = (1.0, 0.1, 10.0, 100.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Sets of inputs, what the reference makes of them, and what that is worth."""

    inputs: tuple[Arrays, ...]
    expected: tuple[Arrays, ...]
    source: str  # for the reader: "drawn", or a file's name
    seeds: tuple[int, ...]
    unexercised: dict[str, str]  # outputs that show nothing, and why
    uncertainty: float  # how far onnxruntime is from itself with optimisations on

    @property
    def is_good(self) -> bool:
        return not self.unexercised and self.uncertainty <= LARGEST_UNCERTAINTY


def choose_trial(model: Model, inputs: GivenInputs, seeds: Sequence[int]) -> Trial:
    """Return the given inputs, or the first scale of drawn ones that every output answers to.

    If onnxruntime is unsure of its own answer at every scale, the one where it is least unsure.
    """
    referee = _Referee(model)
    if isinstance(inputs, str | Path):
        arrays = read_inputs(Path(inputs), model)
        return _with_flat_inputs_refused(referee.trial((arrays,), Path(inputs).name, ()))
    if inputs is not None:
        given = checked_inputs(inputs, model)
        return _with_flat_inputs_refused(referee.trial((given,), "given", ()))
    trials = []
    for scale in SCALES:
        drawn = tuple(draw_inputs(model, seed, scale) for seed in seeds)
        source = "drawn" if scale == 1.0 else f"drawn, scaled by {scale:g}"
        trial = referee.trial(drawn, source, tuple(seeds))
        if trial.is_good:
            return trial
        trials.append(trial)
    return min(trials, key=lambda trial: (len(trial.unexercised), trial.uncertainty))


def _with_flat_inputs_refused(trial: Trial) -> Trial:
    """Zeros everywhere leave the first layer's weights untried, though biases make outputs vary."""
    arrays = [array for given in trial.inputs for array in given.values() if array.size > 1]
    flat = bool(arrays) and all((array == array.flat[0]).all() for array in arrays)
    if trial.unexercised or not flat:
        return trial
    why = "was tried only on inputs that hold one number throughout"
    return replace(trial, unexercised=dict.fromkeys(trial.expected[0], why))


class _Referee:
    """onnxruntime twice: the reference, and with optimisations to see how sure it is."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._reference = Reference(model.source)
        # A quantized model differs from itself by whole quanta: its rule allows for that.
        quantized = GraphWalk(model.proto).has_quantizers
        self._second = None if quantized else Reference(model.source, optimized=True)

    def trial(self, inputs: tuple[Arrays, ...], source: str, seeds: tuple[int, ...]) -> Trial:
        expected = tuple(self._reference.run(arrays) for arrays in inputs)
        return Trial(
            inputs=inputs,
            expected=expected,
            source=source,
            seeds=seeds,
            unexercised=unexercised(self._model, expected),
            uncertainty=self._uncertainty(inputs, expected),
        )

    def _uncertainty(self, inputs: tuple[Arrays, ...], expected: tuple[Arrays, ...]) -> float:
        """Largest difference over the reference's largest value, of all float outputs."""
        if self._second is None:
            return 0.0
        shares = [0.0]
        for arrays, first in zip(inputs, expected, strict=True):
            second = self._second.run(arrays)
            shares += [_share(first[name], second[name]) for name in first]
        return max(shares)


def _share(first: np.ndarray, second: np.ndarray) -> float:
    if first.dtype != np.float32:  # what the limit is for
        return 0.0
    finite = np.isfinite(first) & np.isfinite(second)
    largest = float(np.abs(first[finite]).max(initial=0.0))
    difference = float(np.abs(first[finite] - second[finite]).max(initial=0.0))
    return difference / largest if largest else 0.0
