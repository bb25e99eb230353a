"""How a model is quantized: which float form of it, which ranges, corrected biases or not.

Each step is tried and kept only where it makes the error of the outputs smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from compiler.quantization.bias import bias_corrections, corrected_operands
from compiler.quantization.equalize import equalize
from compiler.quantization.graph import Graph, index_graph
from compiler.quantization.insert import insert_quantizers
from compiler.quantization.judge import relative_noise
from compiler.quantization.network import Network
from compiler.quantization.ranges import METHODS, QuantizationError, Range, calibrate
from compiler.quantization.statistics import ChannelStatistics, channel_statistics
from compiler.quantization.units import Unit, find_units, quantized_values

if TYPE_CHECKING:
    import onnx

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that is needed to write the model with some of its units in integers."""

    graph: Graph
    units: tuple[Unit, ...]
    ranges: Mapping[str, Range]
    method: str
    equalized_groups: int
    statistics: Mapping[str, ChannelStatistics] | None  # given: biases are corrected

    def model(self, units: Collection[Unit]) -> onnx.ModelProto:
        """Return the model with these units in integers."""
        corrections = None
        if self.statistics is not None:
            corrections = bias_corrections(self.graph, units, self.ranges, self.statistics)
        return insert_quantizers(self.graph, units, self.ranges, corrections)


class Probe:
    """Measures the error of the outputs on a few samples."""

    def __init__(self, proto: onnx.ModelProto, samples: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._samples = samples
        network = Network(proto)
        self._wanted = [network.run(sample) for sample in samples]
        for outputs in self._wanted:
            for name, array in outputs.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise QuantizationError(
                        f"output {name!r} of the float model is not finite on a sample",
                        why="nothing can be compared with NaN or infinity",
                        fix="give samples for which the float model gives finite numbers",
                    )

    def noise(self, proto: onnx.ModelProto) -> float:
        """Return the mean power of the error, relative to the outputs' own."""
        network = Network(proto)
        return float(
            np.mean(
                [
                    relative_noise(network.run(sample), wanted)
                    for sample, wanted in zip(self._samples, self._wanted, strict=True)
                ]
            )
        )


def choose_recipe(
    proto: onnx.ModelProto,
    samples: Sequence[Mapping[str, np.ndarray]],
    probe: Probe,
    method: str | None,
    report: Report,
) -> Recipe:
    """Return the recipe with the smallest error when everything is quantized.

    Args:
        method: how ranges are found; None tries all.
    """
    methods = [method] if method else list(METHODS)
    report(f"ranges: {methods[0]}")
    plain = _with_ranges(proto, samples, methods[0], equalized_groups=0)
    best, least = plain, probe.noise(plain.model(plain.units))

    def keep_if_better(trial: Recipe) -> None:
        nonlocal best, least
        noise = probe.noise(trial.model(trial.units))
        if noise < least:
            best, least = trial, noise

    report("equalisation")
    equalized, changed = equalize(proto, samples)
    if changed:
        keep_if_better(_with_ranges(equalized, samples, methods[0], equalized_groups=changed))
    for other in methods[1:]:
        report(f"ranges: {other}")
        ranges = _ranges(best.graph, best.units, samples, other)
        keep_if_better(replace(best, ranges=ranges, method=other))
    report("bias correction")
    operands = corrected_operands(best.graph, best.units)
    statistics = channel_statistics(best.graph.proto, operands, samples)
    keep_if_better(replace(best, statistics=statistics))
    return best


def _with_ranges(
    proto: onnx.ModelProto,
    samples: Sequence[Mapping[str, np.ndarray]],
    method: str,
    equalized_groups: int,
) -> Recipe:
    graph = index_graph(proto)
    units = find_units(graph)
    return Recipe(
        graph=graph,
        units=units,
        ranges=_ranges(graph, units, samples, method),
        method=method,
        equalized_groups=equalized_groups,
        statistics=None,
    )


def _ranges(
    graph: Graph,
    units: Collection[Unit],
    samples: Sequence[Mapping[str, np.ndarray]],
    method: str,
) -> dict[str, Range]:
    values = list(dict.fromkeys(quantized_values(units, graph).values()))
    return calibrate(graph.proto, values, samples, method)
