"""Fused kernels know which ONNX values and nodes they compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.program import Program, ValueKind
from compiler.relax_program import extract_program
from compiler.stages.provenance import provenance_of
from tests.lowered import loaded, staged
from tests.onnx_models import attention_model, conv_net_model, make_model, qdq_model


def _program(model: onnx.ModelProto) -> Program:
    read = loaded(model)
    return extract_program(staged(read), read)


def _nodes(program: Program) -> list[tuple[str, ...]]:
    return [call.onnx_nodes for call in program.calls if call.onnx_nodes]


def test_fused_kernel_names_all_its_nodes_in_order() -> None:
    assert _nodes(_program(conv_net_model())) == [
        ("stem", "stem_relu"),
        ("depthwise", "depthwise_relu"),
        ("pointwise", "residual"),
        ("pool",),
        ("dense",),
        ("softmax",),
    ]


def test_results_are_named_by_their_onnx_values() -> None:
    program = _program(conv_net_model())
    named = {program.values[v].onnx_name for call in program.calls for v in call.outputs}
    assert named >= {"r0", "r1", "a", "p", "g", "y"}


def test_operators_say_what_a_reader_calls_the_kernel() -> None:
    operators = [call.operator for call in _program(conv_net_model()).calls]
    assert {"Conv+Relu", "Conv+Add", "GlobalAveragePool", "Gemm", "Softmax"} <= set(operators)


@pytest.mark.parametrize("build", [conv_net_model, attention_model, qdq_model])
def test_every_node_is_in_a_kernel_or_a_view(build: Callable[[], onnx.ModelProto]) -> None:
    read = loaded(build())
    program = extract_program(staged(read), read)
    computed = {node for nodes in _nodes(program) for node in nodes}
    views = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "DequantizeLinear"}
    missing = {node.name for node in read.proto.graph.node if node.op_type not in views}
    assert missing <= computed


@pytest.mark.parametrize("build", [conv_net_model, attention_model, qdq_model])
def test_no_two_results_have_one_name(build: Callable[[], onnx.ModelProto]) -> None:
    program = _program(build())
    made = [program.values[number] for call in program.calls for number in call.outputs]
    names = [value.onnx_name for value in made if value.onnx_name is not None]
    assert len(set(names)) == len(names)


def test_products_of_a_kernel_are_counted() -> None:
    by_nodes = {call.onnx_nodes: call.macs for call in _program(conv_net_model()).calls}
    assert by_nodes[("stem", "stem_relu")] == 8 * 8 * 8 * 3 * 3 * 3
    assert by_nodes[("dense",)] == 8 * 10
    assert by_nodes[("softmax",)] == 0


def test_any_text_may_be_a_name() -> None:
    """ONNX names are not identifiers; those of Relax are."""
    nodes = [
        helper.make_node("Neg", ["in:0/é"], ["mid value"], name="a node"),
        helper.make_node("Softmax", ["mid value"], ["out;put"], name="0"),
    ]
    model = make_model(
        nodes,
        inputs={"in:0/é": ("float32", [2, 16])},
        outputs={"out;put": ("float32", [2, 16])},
    )
    program = _program(model)
    assert {value.onnx_name for value in program.values} >= {"in:0/é", "out;put"}
    assert {node for nodes in _nodes(program) for node in nodes} == {"a node", "0"}


def test_kernel_with_two_results_names_both() -> None:
    """The sum is a result of the model and feeds the product in the same kernel."""
    nodes = [
        helper.make_node("Add", ["x", "c"], ["sum"], name="add"),
        helper.make_node("Mul", ["sum", "sum"], ["product"], name="mul"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [2, 3])},
        outputs={"sum": ("float32", [2, 3]), "product": ("float32", [2, 3])},
        constants={"c": np.ones(3, np.float32)},
    )
    program = _program(model)
    made = {program.values[v].onnx_name for call in program.calls for v in call.outputs}
    assert made == {"sum", "product"}
    assert {program.values[p.value].kind for p in program.outputs} == {ValueKind.OUTPUT}


def test_module_without_records_has_no_provenance() -> None:
    assert provenance_of(staged(loaded(conv_net_model()), until="legalize")) == {}
