"""fold-constants and clamp-indices: numbers, and the refusal of constant indices outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import tvm_ffi
from onnx import helper
from tvm import relax
from tvm.ir import IRModule

from compiler.errors import UnsupportedError
from compiler.stages.constants import constant_array
from compiler.stages.fold_constants import fold_constants
from tests.lowered import loaded, staged, workloads
from tests.onnx_models import make_model


def _module(make: Any) -> IRModule:
    """A module whose main returns what `make` computes from constants."""
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        with builder.dataflow():
            result = builder.emit_output(make(builder))
        builder.emit_func_output(result)
    return builder.get()


def _only_constant(mod: IRModule) -> np.ndarray:
    bindings = [b for block in mod["main"].body.blocks for b in block.bindings]
    array = constant_array(bindings[-1].value)
    assert array is not None, mod.script()
    return array


def test_moved_constants_are_folded() -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)

    def make(builder: relax.BlockBuilder) -> relax.Expr:
        turned = builder.emit(relax.op.permute_dims(relax.const(data)))
        wide = builder.emit(relax.op.expand_dims(turned, [0]))
        return relax.op.reshape(wide, (2, 3))

    folded = _only_constant(fold_constants(_module(make)))
    np.testing.assert_array_equal(folded, data.T.reshape(2, 3))
    assert folded.flags.c_contiguous


@pytest.mark.parametrize(("axis", "size"), [(0, 2), (1, 3), (-1, 3), (0, 1)])
def test_dequantized_constants_are_folded(axis: int, size: int) -> None:
    data = np.asarray([[-128, 0, 127], [5, -6, 7]], np.int8)
    generator = np.random.default_rng(0)
    scale = generator.uniform(0.1, 1, size).astype(np.float32)
    zero = generator.integers(-128, 127, size).astype(np.int8)

    def make(builder: relax.BlockBuilder) -> relax.Expr:
        del builder
        constants = [relax.const(array) for array in (data, scale, zero)]
        return relax.op.dequantize(*constants, axis=axis)

    shape = [1, 1]
    shape[axis] = size
    # In int32: -128 - 127 does not fit int8.
    exact = data.astype(np.int32) - zero.astype(np.int32).reshape(shape)
    wanted = exact.astype(np.float32) * scale.reshape(shape)
    np.testing.assert_array_equal(_only_constant(fold_constants(_module(make))), wanted)


def test_what_depends_on_inputs_is_not_folded() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.permute_dims(x))
        builder.emit_func_output(result)
    mod = builder.get()
    assert tvm_ffi.structural_equal(fold_constants(mod), mod)


def _gather(op_type: str, index: np.ndarray, **attributes: Any) -> onnx.ModelProto:
    return make_model(
        [helper.make_node(op_type, ["x", "i"], ["y"], name="gather", **attributes)],
        inputs={"x": ("float32", [3, 4])},
        outputs={"y": ("float32", None)},
        constants={"i": index},
    )


@pytest.mark.parametrize(
    ("model", "operator", "reach", "axis"),
    [
        (_gather("Gather", np.asarray([0, 3])), "take", "0..3", "3"),
        (_gather("Gather", np.asarray([-5, 0]), axis=1), "take", "-5..0", "4"),
        (_gather("GatherElements", np.asarray([[9]])), "gather_elements", "9..9", "3"),
        (_gather("GatherND", np.asarray([[1, 1], [2, 4]])), "gather_nd", "1..4", "[3, 4]"),
    ],
)
def test_constant_index_outside_its_axis_is_refused(
    model: onnx.ModelProto, operator: str, reach: str, axis: str
) -> None:
    with pytest.raises(UnsupportedError) as error:
        staged(loaded(model))
    assert str(error.value) == (
        f"an index of {operator} lies outside its axis\n"
        f"  why: the constant indices reach {reach}, the axis has {axis} elements\n"
        "  fix: correct the indices in the model"
    )


@pytest.mark.parametrize("op_type", ["Gather", "GatherElements", "GatherND"])
def test_constant_indices_inside_cost_nothing_at_run_time(op_type: str) -> None:
    functions = workloads(_gather(op_type, np.asarray([[-1, 2]]))).functions
    assert len(functions) == 1


@pytest.mark.parametrize("op_type", ["Gather", "GatherElements", "GatherND"])
def test_negative_indices_are_counted_from_the_end_once(op_type: str) -> None:
    """TVM's importer does it too: done twice, -4 of 3 elements would become 2."""
    model = make_model(
        [helper.make_node(op_type, ["x", "i"], ["y"], name="gather")],
        inputs={"x": ("float32", [3, 4]), "i": ("int64", [2, 2])},
        outputs={"y": ("float32", None)},
    )
    text = staged(loaded(model), until="legalize").script()
    assert text.count("R.where(") == 1, text
