"""Normalisations written out in primitive operators become one operator, near misses do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import tvm_ffi
from onnx import helper

from compiler.stages.normalizations import join_normalizations
from tests.lowered import apply_rule, loaded, only_kernel, staged, workloads
from tests.normalization_models import ROOTS, SQUARES, written_out_model
from tests.onnx_models import make_model


def _joined(model: onnx.ModelProto) -> str:
    """The graph after the stage, what is dead gone."""
    return str(staged(loaded(model), until="widen-conv1d")["main"].script())


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("centred", [False, True])
def test_a_normalization_is_one_kernel_of_the_rows_rule(
    square: str, root: str, centred: bool
) -> None:
    model = written_out_model([4, 24], square=square, root=root, centred=centred, beta=centred)
    assert apply_rule("rows", only_kernel(model)) is not None


@pytest.mark.parametrize(("gamma", "beta"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("centred", [False, True])
def test_factor_and_shift_are_part_of_it(centred: bool, gamma: bool, beta: bool) -> None:
    text = _joined(written_out_model([2, 3, 16], centred=centred, gamma=gamma, beta=beta))
    assert text.count("layer_norm(") == int(centred)
    assert text.count("rms_norm(") == int(not centred)
    assert "R.multiply(" not in text
    # A root-mean-square normalisation has no shift: that stays an addition after it.
    assert text.count("R.add(") == int(beta and not centred)


@pytest.mark.parametrize(
    "changes",
    [{"axis": 1}, {"centred": True, "axis": 0}],
    ids=["rms-of-another-axis", "layer-of-another-axis"],
)
def test_sums_along_another_axis_are_left(changes: dict[str, Any]) -> None:
    assert "_norm(" not in _joined(written_out_model([2, 3, 16], **changes))


def test_a_mean_of_other_squares_is_left() -> None:
    model = make_model(
        [
            helper.make_node("Mul", ["x", "z"], ["squares"], name="squares"),
            helper.make_node("ReduceMean", ["squares"], ["mean"], name="mean", axes=[-1]),
            helper.make_node("Add", ["mean", "epsilon"], ["sum"], name="sum"),
            helper.make_node("Sqrt", ["sum"], ["root"], name="root"),
            helper.make_node("Div", ["x", "root"], ["y"], name="y"),
        ],
        inputs={"x": ("float32", [4, 16]), "z": ("float32", [4, 16])},
        outputs={"y": ("float32", [4, 16])},
        constants={"epsilon": np.array(1e-5, np.float32)},
        opset=17,
    )
    assert "_norm(" not in _joined(model)


def test_what_others_read_is_computed_once() -> None:
    """The normalised rows are an output too: the factor stays a product after them."""
    text = _joined(written_out_model([4, 24], also="normal"))
    assert text.count("rms_norm(") == 1
    assert text.count("R.multiply(") == 1


def test_onnx_rms_normalization_takes_the_rows_rule() -> None:
    model = make_model(
        [helper.make_node("RMSNormalization", ["x", "g"], ["y"], name="norm", axis=-1)],
        inputs={"x": ("float32", [4, 24])},
        outputs={"y": ("float32", [4, 24])},
        constants={"g": np.ones(24, np.float32)},
        opset=23,
    )
    functions = workloads(model).functions
    assert [apply_rule("rows", func) is not None for func in functions.values()] == [True]


def test_the_module_passed_in_is_left_as_it_was() -> None:
    mod = staged(loaded(written_out_model([4, 24])), until="join-normalizations")
    before = tvm_ffi.structural_hash(mod)
    changed = join_normalizations(mod)
    assert tvm_ffi.structural_hash(mod) == before
    assert tvm_ffi.structural_hash(changed) != before
