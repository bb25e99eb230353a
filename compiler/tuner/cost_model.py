"""Which candidate is worth measuring: boosted trees on what was measured, kept for a target."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.tuner.features import FEATURES_VERSION

FILE = "cost_model.json"
# Before that many, a model knows less than the order of what was tried elsewhere.
LEAST_SAMPLES = 8
_LEAST_ERROR = 0.03  # of log2: 2 %, as two readings of one candidate may differ
_ROUNDS = 24  # trees of one training
_MOST_TREES = 600  # of a kept model; then it begins anew
_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 5,
    "eta": 0.25,
    "min_child_weight": 0.5,
    "subsample": 0.9,
    "nthread": 1,  # the other processors build and measure
    "seed": 1,
    "base_score": 0.0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A measured candidate; `speed` is log2 of how many times faster than the default it is."""

    row: np.ndarray
    speed: float


class CostModel:
    """Predicts log2 of the speed-up over the default schedule, for all tasks of a target.

    What it learnt is kept beside the records and trained further. Builds never read it.
    """

    def __init__(self, folder: Path) -> None:
        """Load what is kept in a fingerprint's folder of records, if it can be used."""
        self._path = folder / FILE
        self._kept = _read(self._path)
        self._model = self._kept
        self._samples: list[Sample] = []
        self._unseen: list[tuple[float, float]] = []  # (predicted, measured), before training

    @property
    def is_useful(self) -> bool:
        return self._model is not None

    @property
    def sample_count(self) -> int:
        """Of this run."""
        return len(self._samples)

    def predict(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return the predicted log2 speed-up of each row; zeros if nothing is known yet."""
        if self._model is None or not rows:
            return np.zeros(len(rows))
        predicted: np.ndarray = self._model.predict(_matrix(np.stack(rows)))
        return predicted

    def add(self, sample: Sample) -> None:
        """Take a measured candidate; `train` learns from it."""
        if self.is_useful:
            self._unseen.append((float(self.predict([sample.row])[0]), sample.speed))
        self._samples.append(sample)

    def train(self) -> None:
        """Learn from all samples, on top of what was kept."""
        if len(self._samples) < LEAST_SAMPLES:
            return
        import xgboost

        rows = np.stack([sample.row for sample in self._samples])
        labels = np.array([sample.speed for sample in self._samples])
        self._model = xgboost.train(
            _PARAMETERS, _matrix(rows, labels), num_boost_round=_ROUNDS, xgb_model=self._kept
        )

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of predictions made before measuring; None before there are enough."""
        recent = self._unseen[-64:]
        if len(recent) < LEAST_SAMPLES:
            return None
        predicted, measured = np.array(recent).T
        return spearman(predicted, measured)

    @property
    def error(self) -> float | None:
        """How far its predictions were off, in log2 (root of the mean square); None: not known."""
        recent = self._unseen[-64:]
        if len(recent) < LEAST_SAMPLES:
            return None
        return max(_LEAST_ERROR, math.sqrt(sum((p - m) ** 2 for p, m in recent) / len(recent)))

    def save(self) -> None:
        """Keep what was learnt; the file is replaced as a whole."""
        if self._model is None or self._model is self._kept:
            return
        document = {
            "features_version": FEATURES_VERSION,
            "samples": len(self._samples),
            "rank_correlation": self.rank_correlation,
            "model": json.loads(self._model.save_raw("json").decode()),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        other = self._path.with_name(f"{FILE}.{os.getpid()}")
        other.write_text(json.dumps(document), encoding="utf-8")
        other.replace(self._path)


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return the rank correlation of two rows of numbers; 0 if either is constant."""
    first, second = _ranks(one), _ranks(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(np.stack([first, second]))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    shared: np.ndarray = (last - (counts - 1) / 2)[inverse]
    return shared


def _matrix(rows: np.ndarray, labels: np.ndarray | None = None) -> Any:
    import xgboost

    return xgboost.DMatrix(rows, label=labels, nthread=1)


def _read(path: Path) -> Any:
    """The kept model; None if there is none, or one of other features, or a damaged one."""
    import xgboost

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["features_version"] != FEATURES_VERSION:
            return None
        model = xgboost.Booster({"nthread": 1})
        model.load_model(bytearray(json.dumps(document["model"]).encode()))
        return model if model.num_boosted_rounds() <= _MOST_TREES else None
    except (OSError, ValueError, KeyError, TypeError, xgboost.core.XGBoostError):
        return None
