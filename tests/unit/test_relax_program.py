"""From kernels in ``call_tir`` form to the linear program: views, copies, constants, refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from tvm import relax, tirx
from tvm.ir import IRModule

from compiler.errors import UnsupportedError
from compiler.onnx_import.model import Model
from compiler.program import Program, ValueKind
from compiler.relax_program import extract_program
from tests.lowered import loaded, staged
from tests.onnx_models import conv_net_model, make_model


def _program(model: onnx.ModelProto) -> Program:
    read = loaded(model)
    return extract_program(staged(read), read)


def _model(nodes: list[onnx.NodeProto], outputs: str, **constants: np.ndarray) -> onnx.ModelProto:
    return make_model(
        nodes,
        inputs={"x": ("float32", [2, 6])},
        outputs=dict.fromkeys(outputs, ("float32", None)),
        constants=constants,
    )


def test_values_are_numbered_and_constants_owned() -> None:
    program = _program(conv_net_model())
    assert [value.id for value in program.values] == list(range(len(program.values)))
    for number, array in program.constants.items():
        value = program.values[number]
        assert value.kind is ValueKind.CONSTANT
        assert value.storage == number
        assert value.shape == array.shape
        assert array.flags.c_contiguous
    for call in program.calls:
        for number in call.outputs:
            assert program.values[number].kind in (ValueKind.BUFFER, ValueKind.OUTPUT)


def test_each_value_is_written_before_it_is_read() -> None:
    program = _program(conv_net_model())
    kinds = (ValueKind.INPUT, ValueKind.CONSTANT)
    known = {value.storage for value in program.values if value.kind in kinds}
    for call in program.calls:
        assert {program.values[number].storage for number in call.inputs} <= known
        known.update(program.values[number].storage for number in call.outputs)


def test_reshape_is_another_value_of_the_same_storage() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="neg"),
        helper.make_node("Reshape", ["n", "to"], ["r"], name="reshape"),
        helper.make_node("Softmax", ["r"], ["y"], name="softmax"),
    ]
    program = _program(_model(nodes, "y", to=np.asarray([3, 4], np.int64)))
    (negated,) = program.calls[0].outputs
    (read,) = program.calls[1].inputs
    assert read != negated
    assert program.values[read].storage == program.values[negated].storage == negated
    assert program.values[read].shape == (3, 4)
    assert not program.copies


def test_view_of_a_result_is_written_where_it_is_wanted() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="neg"),
        helper.make_node("Reshape", ["n", "to"], ["y"], name="reshape"),
    ]
    program = _program(_model(nodes, "y", to=np.asarray([12], np.int64)))
    (port,) = program.outputs
    assert program.values[port.value].shape == (12,)
    assert program.values[program.calls[0].outputs[0]].kind is ValueKind.OUTPUT
    assert not program.copies


def test_results_that_no_kernel_writes_are_copied() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["a"], name="view of an input"),
        helper.make_node("Identity", ["c"], ["b"], name="constant"),
        helper.make_node("Neg", ["x"], ["d"], name="neg"),
        helper.make_node("Identity", ["d"], ["e"], name="again"),
    ]
    constants: dict[str, np.ndarray] = {"to": np.asarray([12]), "c": np.ones(3, np.float32)}
    program = _program(_model(nodes, "abde", **constants))
    targets = {port.name: port.value for port in program.outputs}
    assert len(set(targets.values())) == 4
    assert all(program.values[value].kind is ValueKind.OUTPUT for value in targets.values())
    kinds = {copy.destination: program.values[copy.source].kind for copy in program.copies}
    assert kinds[targets["a"]] is ValueKind.INPUT
    assert kinds[targets["b"]] is ValueKind.CONSTANT
    assert kinds[targets["e"]] is ValueKind.OUTPUT
    assert targets["d"] not in kinds


def test_equal_constants_are_kept_once() -> None:
    ones = np.ones((6, 6), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "c"], ["m"], name="one"),
        helper.make_node("MatMul", ["m", "k"], ["y"], name="two"),
    ]
    program = _program(_model(nodes, "y", c=ones, k=ones.copy()))
    assert len(program.constants) == 1


def _by_hand(result: relax.Expr, dtype: str = "float32") -> tuple[IRModule, Model]:
    """A module that binds one expression, and a model with its input and output."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 6), dtype))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(result(x)))
    model = loaded(_model([helper.make_node("Neg", ["x"], ["y"], name="neg")], "y"))
    return IRModule({"main": builder.get()["main"]}, attrs=staged(model).attrs), model


def test_operator_that_is_left_over_is_refused() -> None:
    mod, model = _by_hand(relax.op.negative)
    with pytest.raises(UnsupportedError) as error:
        extract_program(mod, model)
    assert str(error.value) == (
        "`negative` has no kernel\n"
        "  why: only kernel calls and reshapes can be part of a stand-alone program\n"
        "  fix: `tunesmith inspect` lists the operators that are supported"
    )


def test_element_type_without_storage_is_refused() -> None:
    mod, model = _by_hand(lambda x: x, dtype="float8_e4m3fn")
    with pytest.raises(UnsupportedError) as error:
        extract_program(mod, model)
    assert error.value.what == "input `x` has elements of type float8_e4m3fn"
    assert error.value.why.startswith("compiled are tensors of bfloat16, bool, float16, ")
    assert error.value.fix == "convert the model to one of these types"


def test_shape_that_depends_on_data_is_refused() -> None:
    mod, model = _by_hand(lambda x: x)
    size = tirx.Var("n", "int64")
    parameter = relax.Var("x", relax.TensorType((size, 6), "float32"))
    body = relax.SeqExpr([relax.BindingBlock([])], parameter)
    main = relax.Function([parameter], body, relax.TensorType((size, 6), "float32"))
    open_mod = IRModule({"main": main}, attrs=mod.attrs)
    with pytest.raises(UnsupportedError) as error:
        extract_program(open_mod, model)
    assert str(error.value) == (
        "the shape of input `x` depends on data\n"
        "  why: memory is planned at compile time, so every shape must be known then\n"
        "  fix: fix the input shapes with --shape, or remove the operator that makes it"
    )
