"""What quantizing did to a model: accuracy, size, and each layer's share in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.quantization.judge import Score
from compiler.quantization.network import Network
from compiler.quantization.recipe import Recipe
from compiler.quantization.search import Choice

if TYPE_CHECKING:
    import onnx

# Beyond this, nothing was rounded.
LARGEST_DB = 200.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerReport:
    """One node that could compute in integers. Ratios of signal to error are in decibels."""

    name: str
    op_type: str
    macs: int
    integer: bool
    sqnr_db: float  # of its result, with all that the layers before it add
    alone_sqnr_db: float | None  # of the model's outputs if it alone is quantized; if asked
    reason: str | None  # why it stays in float


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationReport:
    """What was done and what it cost. Accuracies are shares of 1."""

    output: str  # the file's name
    calibration_samples: int
    judged_samples: int
    judged_by: str  # "labels", "agreement" or "closeness"
    ranges: str
    equalized_groups: int
    corrected_biases: bool
    float_score: Score
    score: Score
    all_integer_score: Score  # if no layer stayed in float
    float_bytes: int
    quantized_bytes: int
    macs: int
    integer_macs: int
    layers: tuple[LayerReport, ...]

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates in integers."""
        return self.integer_macs / max(1, self.macs)

    def as_json(self) -> dict[str, Any]:
        """Return the machine form."""
        return asdict(self) | {"integer_share": self.integer_share}


def layer_reports(
    recipe: Recipe,
    choice: Choice,
    model: onnx.ModelProto,
    samples: Sequence[Mapping[str, np.ndarray]],
) -> tuple[LayerReport, ...]:
    """Return one report for each unit, in the order of the graph."""
    chosen = {unit.name for unit in choice.units}
    worst = sorted(choice.noises, key=lambda name: -choice.noises[name])
    ratios = _result_ratios(recipe, model, samples)
    return tuple(
        LayerReport(
            name=unit.name,
            op_type=unit.op_type,
            macs=unit.macs,
            integer=unit.name in chosen,
            sqnr_db=ratios[unit.result],
            alone_sqnr_db=_decibels(choice.noises[unit.name]) if choice.noises else None,
            reason=None
            if unit.name in chosen
            else _reason(unit.is_join, worst.index(unit.name) + 1, len(worst)),
        )
        for unit in recipe.units
    )


def _reason(is_join: bool, rank: int, count: int) -> str:
    if is_join:
        return "its neighbours are in float, or its error is too large"
    return f"number {rank} of {count} by the error that it makes alone"


def _result_ratios(
    recipe: Recipe, model: onnx.ModelProto, samples: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, float]:
    """Return signal to error, in decibels, of the result of each unit."""
    results = list(dict.fromkeys(unit.result for unit in recipe.units))
    present = {name for node in model.graph.node for name in node.output}
    names = {v: f"{v}/dequantized" if f"{v}/dequantized" in present else v for v in results}
    exact = Network(recipe.graph.proto, results)
    rounded = Network(model, list(names.values()))
    powers = np.zeros((len(results), 2))
    for sample in samples:
        wanted, given = exact.run(sample), rounded.run(sample)
        for row, value in enumerate(results):
            signal = wanted[value].astype(np.float64)
            error = given[names[value]] - signal
            powers[row] += [np.mean(signal**2), np.mean(error**2)]
    return {
        value: _decibels(error / signal if signal else 0.0)
        for value, (signal, error) in zip(results, powers.tolist(), strict=True)
    }


def _decibels(noise: float) -> float:
    """Return a relative error power as signal to error ratio."""
    return round(min(-10 * log10(noise) if noise > 0 else inf, LARGEST_DB), 2)


def file_bytes(path: Path) -> int:
    """Return the size of a model's file with its external data, as far as they stand beside it."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    names = {
        entry.value
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sum(file.stat().st_size for file in (path, *(path.parent / name for name in names)))
