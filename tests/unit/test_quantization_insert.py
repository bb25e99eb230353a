"""Which nodes compute in integers, where quantizers stand, and that the file is sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import onnx
import pytest

from compiler.onnx_import.infer import declare_results, infer_types
from compiler.quantization.graph import Graph, index_graph
from compiler.quantization.insert import insert_quantizers
from compiler.quantization.ranges import calibrate
from compiler.quantization.units import Unit, find_units, quantized_values
from tests.onnx_models import conv_net_model, make_model, run_onnx, weights
from tests.quantization_models import attention_like_model, samples, uneven_model


def graph_of(model: onnx.ModelProto) -> Graph:
    declare_results(model, infer_types(model))
    return index_graph(model)


def quantized(
    graph: Graph, units: Collection[Unit], inputs: Sequence[dict[str, np.ndarray]]
) -> onnx.ModelProto:
    values = list(dict.fromkeys(quantized_values(units, graph).values()))
    ranges = calibrate(graph.proto, values, inputs, "minmax")
    model = insert_quantizers(graph, units, ranges)
    onnx.checker.check_model(model, full_check=True)
    return model


def pairs(model: onnx.ModelProto) -> list[str]:
    """The values that are quantized, by the names of their quantizers' results."""
    return [n.output[0].rpartition("/")[0] for n in model.graph.node if n.op_type.startswith("Qu")]


def test_units_of_a_network_and_their_activations() -> None:
    units = {unit.name: unit for unit in find_units(graph_of(conv_net_model()))}
    assert list(units) == ["stem", "depthwise", "pointwise", "residual", "pool", "dense"]
    assert units["stem"].result == "r0"
    assert units["residual"].operands == ("c2", "r0")
    assert units["residual"].is_join
    assert units["dense"].weight is not None
    assert units["dense"].weight.axis == 1
    assert units["stem"].macs == 8 * 8 * 8 * 27


def test_additions_of_a_normalisation_are_no_units() -> None:
    units = find_units(graph_of(attention_like_model()))
    assert [unit.name for unit in units] == ["dense", "query", "key", "scores"]
    assert units[0].result == "a"  # behind its bias
    assert units[3].operands == ("q", "kt")
    assert units[3].weight is None


def test_whole_network_in_integers() -> None:
    graph = graph_of(conv_net_model())
    model = quantized(graph, find_units(graph), samples(1, 3, 16, 16))
    counts = Counter(node.op_type for node in model.graph.node)
    assert pairs(model) == ["x", "r0", "r1", "c2", "a", "p", "f", "g"]
    assert "Relu" not in counts  # the quantizers saturate at 0
    assert counts["DequantizeLinear"] == 8 + 2 * 4
    exact, got = (run_onnx(m, samples(1, 3, 16, 16)[0])[0] for m in (graph.proto, model))
    assert 0 < np.abs(got - exact).max() < 0.05


def test_weights_are_int8_and_biases_int32_in_the_unit_of_the_sums() -> None:
    graph = graph_of(conv_net_model())
    model = quantized(graph, find_units(graph), samples(1, 3, 16, 16))
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    operands = next(n.input for n in model.graph.node if n.name == "w1/dequantize")
    assert [arrays[name].dtype for name in operands] == [np.int8, np.float32, np.int8]
    assert [arrays[name].shape for name in operands] == [(8, 1, 3, 3), (8,), (8,)]
    assert not arrays[operands[2]].any()
    assert arrays["b1/quantized"].dtype == np.int32
    assert np.array_equal(arrays["b1/scale"], arrays["r0/scale"] * arrays["w1/scale"])
    assert "w1" not in arrays


def test_float_readers_read_the_value_before_its_quantizer() -> None:
    graph = graph_of(attention_like_model())
    units = [unit for unit in find_units(graph) if unit.name in ("query", "key")]
    model = quantized(graph, units, samples(6, 8))
    nodes = {node.name: node for node in model.graph.node}
    assert pairs(model) == ["n", "q", "k"]
    assert nodes["residual"].input[0] == "n"
    assert nodes["turn"].input[0] == "k/dequantized"  # which a unit stored in 8 bits
    assert nodes["query"].input[0] == nodes["key"].input[0] == "n/dequantized"
    weights_read = [nodes[f"{name}/w1/dequantize"].input[0] for name in ("query", "key")]
    assert weights_read[0] == weights_read[1]  # stored once
    exact, got = (run_onnx(m, samples(6, 8)[0]) for m in (graph.proto, model))
    assert np.array_equal(exact[1], got[1])  # z sees nothing of it
    assert not np.array_equal(exact[0], got[0])


def test_moved_values_keep_their_scale() -> None:
    graph = graph_of(attention_like_model())
    model = quantized(graph, find_units(graph), samples(6, 8))
    nodes = {node.name: node for node in model.graph.node}
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert pairs(model) == ["x", "a", "n", "q", "k", "kt", "scores"]
    assert nodes["turn"].input[0] == "k/dequantized"
    assert arrays["k/scale"] == arrays["kt/scale"]
    assert arrays["k/zero_point"] == arrays["kt/zero_point"]


def test_output_that_a_layer_stores_keeps_its_name() -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["m"], name="dense"),
        onnx.helper.make_node("Relu", ["m"], ["y"], name="relu"),
        onnx.helper.make_node("Exp", ["y"], ["z"], name="exp"),
    ]
    graph = graph_of(
        make_model(
            nodes,
            inputs={"x": ("float32", [4, 4])},
            outputs={"y": ("float32", [4, 3]), "z": ("float32", [4, 3])},
            constants={"w": weights(4, 3)},
        )
    )
    model = quantized(graph, find_units(graph), samples(4, 4))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[-4:] == ["MatMul", "QuantizeLinear", "DequantizeLinear", "Exp"]
    got, exact = (run_onnx(m, samples(4, 4)[0]) for m in (model, graph.proto))
    assert np.allclose(np.exp(got[0]), got[1], rtol=1e-6)  # z reads what y gives
    assert np.abs(got[0] - exact[0]).max() < 0.05


@pytest.mark.parametrize("limit", [0.3, 1e6, None])
def test_saturated_activations_are_dropped(limit: float | None) -> None:
    graph = graph_of(uneven_model(limit=limit))
    model = quantized(graph, find_units(graph), samples(1, 4, 8, 8))
    assert not any(node.name == "act0" for node in model.graph.node)
    exact, got = (run_onnx(m, samples(1, 4, 8, 8, seed=9)[0])[0] for m in (graph.proto, model))
    assert np.abs(got - exact).max() < 0.1 * np.abs(exact).max()


def test_activation_within_the_range_stays() -> None:
    graph = graph_of(uneven_model(limit=0.3))
    units = find_units(graph)
    ranges = dict.fromkeys(quantized_values(units, graph).values(), (-0.5, 0.5))
    model = insert_quantizers(graph, units, ranges)
    assert any(node.name == "act0" for node in model.graph.node)


def test_correction_makes_a_bias_where_there_was_none() -> None:
    graph = graph_of(uneven_model())
    units = find_units(graph)
    values = list(dict.fromkeys(quantized_values(units, graph).values()))
    ranges = calibrate(graph.proto, values, samples(1, 4, 8, 8), "minmax")
    correction = np.linspace(-1, 1, 6)
    model = insert_quantizers(graph, units, ranges, {"project": correction})
    onnx.checker.check_model(model, full_check=True)
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = arrays["project/bias/scale"].astype(np.float64)
    steps = arrays["project/bias/quantized"] - correction / scales
    assert np.abs(steps).max() < 0.501


def test_layers_that_cannot_are_left_out() -> None:
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w"], ["a"], name="scaled", alpha=2.0),
        onnx.helper.make_node("Gemm", ["a", "w", "row"], ["b"], name="one_bias"),
        onnx.helper.make_node("MatMul", ["w", "b"], ["y"], name="constant_first"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [4, 4])},
        outputs={"y": ("float32", [4, 4])},
        constants={"w": weights(4, 4), "row": weights(1)},
    )
    assert find_units(graph_of(model)) == ()
