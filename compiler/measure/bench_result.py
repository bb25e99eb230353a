"""Timings of engines on models, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

OURS = "tunesmith"
UNTUNED = "untuned"  # our own library without tuning records, beside one with them


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineTiming:
    """All timed calls of one engine on one model; none if it could not run the model."""

    engine: str
    version: str
    settings: dict[str, str]
    seconds: tuple[float, ...]
    error: str = ""
    instruction_count: int | None = None  # of one run, in an emulator, in place of times

    @property
    def minimum_us(self) -> float | None:
        return min(self.seconds) * 1e6 if self.seconds else None

    @property
    def median_us(self) -> float | None:
        return median(self.seconds) * 1e6 if self.seconds else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTiming:
    """One model on our library and on its peers. A ratio over 1 says that our library is faster."""

    model: str
    timings: tuple[EngineTiming, ...]  # ours first
    multiply_accumulates: int = 0  # of the ONNX file

    @property
    def instructions_for_each_mac(self) -> float | None:
        """Of our library where an emulator counted its instructions."""
        count = self.timings[0].instruction_count
        return count / self.multiply_accumulates if count and self.multiply_accumulates else None

    def ratio(self, peer: str) -> float | None:
        """Peer's minimum over our minimum; None if the peer could not run the model."""
        return self._ratio(peer, "minimum_us")

    def median_ratio(self, peer: str) -> float | None:
        """The same of medians."""
        return self._ratio(peer, "median_us")

    @property
    def best_peer(self) -> EngineTiming | None:
        """The engine of others with the smallest minimum."""
        others = (timing for timing in self.timings[1:] if timing.engine != UNTUNED)
        ran = [timing for timing in others if timing.seconds]
        return min(ran, key=lambda timing: min(timing.seconds)) if ran else None

    @property
    def ratio_to_best(self) -> float | None:
        return self.ratio(self.best_peer.engine) if self.best_peer else None

    def _ratio(self, peer: str, figure: str) -> float | None:
        timing = next(timing for timing in self.timings if timing.engine == peer)
        ours, theirs = getattr(self.timings[0], figure), getattr(timing, figure)
        return theirs / ours if ours and theirs else None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """Timings of several models and the conditions they were taken under."""

    models: tuple[ModelTiming, ...]
    peers: tuple[str, ...]
    settings: dict[str, Any]

    def geometric_mean(self, peer: str) -> float | None:
        """Geometric mean over the models that the peer could run."""
        ratios = [r for model in self.models if (r := model.ratio(peer)) is not None]
        return geometric_mean(ratios) if ratios else None

    @property
    def geometric_mean_to_best(self) -> float | None:
        ratios = [r for model in self.models if (r := model.ratio_to_best) is not None]
        return geometric_mean(ratios) if ratios else None

    def to_frame(self) -> pd.DataFrame:
        """Return one row per model and engine."""
        import pandas as pd

        rows = [
            {
                "model": model.model,
                "engine": timing.engine,
                "minimum_us": timing.minimum_us,
                "median_us": timing.median_us,
                "ratio": model.ratio(timing.engine),
                "median_ratio": model.median_ratio(timing.engine),
                "error": timing.error,
            }
            for model in self.models
            for timing in model.timings
        ]
        return pd.DataFrame(rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "models": [_model_json(model) for model in self.models],
            "geometric_mean": {peer: self.geometric_mean(peer) for peer in self.peers},
            "geometric_mean_to_best": self.geometric_mean_to_best,
        }


def _model_json(model: ModelTiming) -> dict[str, Any]:
    best = model.best_peer
    return {
        "model": model.model,
        "engines": [
            {
                "engine": timing.engine,
                "version": timing.version,
                "settings": timing.settings,
                "runs": len(timing.seconds),
                "minimum_us": timing.minimum_us,
                "median_us": timing.median_us,
                "ratio": model.ratio(timing.engine),
                "median_ratio": model.median_ratio(timing.engine),
                "error": timing.error,
                "instruction_count": timing.instruction_count,
            }
            for timing in model.timings
        ],
        "multiply_accumulates": model.multiply_accumulates,
        "instructions_for_each_mac": model.instructions_for_each_mac,
        "best_peer": best.engine if best else None,
        "ratio_to_best": model.ratio_to_best,
    }
