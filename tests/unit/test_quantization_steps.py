"""Equalisation, bias correction and the search: each does what it is for, and no harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest

from compiler.onnx_import.infer import declare_results, infer_types
from compiler.quantization.bias import bias_corrections, corrected_operands
from compiler.quantization.channel_groups import find_groups
from compiler.quantization.equalize import equalize
from compiler.quantization.graph import index_graph
from compiler.quantization.insert import insert_quantizers
from compiler.quantization.judge import relative_noise
from compiler.quantization.ranges import METHODS, calibrate
from compiler.quantization.recipe import Probe, choose_recipe
from compiler.quantization.search import _smallest
from compiler.quantization.statistics import channel_statistics
from compiler.quantization.units import find_units, quantized_values
from tests.onnx_models import make_model, run_onnx, weights
from tests.quantization_models import samples, uneven_model

SAMPLES = samples(1, 4, 8, 8)


def declared(model: onnx.ModelProto) -> onnx.ModelProto:
    declare_results(model, infer_types(model))
    return model


def plain_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = index_graph(model)
    units = find_units(graph)
    values = list(dict.fromkeys(quantized_values(units, graph).values()))
    return insert_quantizers(graph, units, calibrate(model, values, SAMPLES, "minmax"))


def noise(
    model: onnx.ModelProto, exact: onnx.ModelProto, inputs: Sequence[Mapping[str, np.ndarray]]
) -> float:
    pairs = [(run_onnx(model, sample), run_onnx(exact, sample)) for sample in inputs]
    return float(np.mean([relative_noise({"y": a[0]}, {"y": b[0]}) for a, b in pairs]))


def test_groups_span_sums_and_end_at_what_they_would_change() -> None:
    groups = {group.values: group for group in find_groups(index_graph(declared(uneven_model())))}
    assert sorted(groups) == [("c0", "r0"), ("c1", "r1"), ("c2", "c3", "s")]
    assert groups["c2", "c3", "s"].writers == ("project", "beside")
    assert groups["c2", "c3", "s"].readers == ("last",)
    assert groups["c1", "r1"].readers == ("project", "beside")


@pytest.mark.parametrize("limit", [None, 2.0])
def test_equalised_model_computes_the_same(limit: float | None) -> None:
    model = declared(uneven_model(limit=limit))
    before = model.SerializeToString()
    equalized, changed = equalize(model, SAMPLES)
    assert changed >= 2
    assert model.SerializeToString() == before
    assert noise(equalized, model, SAMPLES) < 1e-10
    rows = onnx.numpy_helper.to_array(
        next(t for t in equalized.graph.initializer if t.name == "expand/weight")
    )
    tops = np.abs(rows).max(axis=(1, 2, 3))
    assert tops.max() / tops.min() < 20  # a hundred and more before


def test_equalised_channels_stay_below_the_clip_that_they_pass() -> None:
    model = declared(uneven_model(limit=0.05))
    equalized, _ = equalize(model, SAMPLES)
    assert noise(equalized, model, SAMPLES) < 1e-10


def test_equalisation_makes_the_error_of_uneven_channels_smaller() -> None:
    model = declared(uneven_model())
    equalized, _ = equalize(model, SAMPLES)
    unseen = samples(1, 4, 8, 8, seed=77)
    before, after = (noise(plain_int8(m), model, unseen) for m in (model, equalized))
    assert after < 0.5 * before


def test_correction_takes_the_mean_error_out() -> None:
    """One pointwise layer on positive inputs: rounded weights shift the mean of every channel."""
    model = declared(
        make_model(
            [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
            inputs={"x": ("float32", [1, 64, 4, 4])},
            outputs={"y": ("float32", [1, 6, 4, 4])},
            constants={"w": weights(6, 64, 1, 1)},
        )
    )
    inputs = [{"x": np.abs(s["x"]) + 1} for s in samples(1, 64, 4, 4)]
    graph = index_graph(model)
    units = find_units(graph)
    ranges = calibrate(model, ["x", "y"], inputs, "minmax")
    statistics = channel_statistics(model, corrected_operands(graph, units), inputs)
    corrections = bias_corrections(graph, units, ranges, statistics)
    exact = np.mean([run_onnx(model, s)[0] for s in inputs], axis=(0, 1, 3, 4))
    shifts = [
        np.abs(np.mean([run_onnx(m, s)[0] for s in inputs], axis=(0, 1, 3, 4)) - exact).max()
        for m in (
            insert_quantizers(graph, units, ranges),
            insert_quantizers(graph, units, ranges, corrections),
        )
    ]
    assert shifts[1] < 0.2 * shifts[0]


@pytest.mark.parametrize("method", METHODS)
def test_ranges_hold_zero_and_nearly_all_numbers(method: str) -> None:
    model = declared(uneven_model())
    ranges = calibrate(model, ["x", "r1", "s"], SAMPLES, method)
    found = Probe(model, SAMPLES), channel_statistics(model, ["x", "r1", "s"], SAMPLES)
    for name, (low, high) in ranges.items():
        largest = found[1][name].largest.max()
        assert low <= 0 <= high
        assert 0.5 * largest < max(-low, high) <= 1.001 * largest
    assert ranges["r1"][0] == 0


def test_recipe_keeps_what_makes_the_error_smaller() -> None:
    model = declared(uneven_model())
    probe = Probe(model, samples(1, 4, 8, 8, seed=3))
    recipe = choose_recipe(model, SAMPLES, probe, "minmax", lambda _: None)
    assert recipe.equalized_groups > 0
    assert probe.noise(recipe.model(recipe.units)) < 0.5 * probe.noise(plain_int8(model))


@pytest.mark.parametrize("first", range(1, 12))
def test_smallest_count_is_found_with_few_questions(first: int) -> None:
    asked: list[int] = []

    def holds(count: int) -> bool:
        asked.append(count)
        return count >= first

    assert _smallest(holds, 11) == first
    assert len(asked) <= 8
    assert not {0, 11} & set(asked)
