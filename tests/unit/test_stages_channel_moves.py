"""Shuffles of channels: one copy for each reader, and what is no shuffle stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm_ffi
from onnx import helper

from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.stages.channel_moves import join_channel_moves
from compiler.verify import check
from tests.lowered import loaded, staged, workloads
from tests.onnx_models import make_model
from tests.shuffle_models import shuffle_model

NODE = helper.make_node
MOVES = ("concat", "transpose", "split")


def _moves(model: onnx.ModelProto) -> list[str]:
    names = list(workloads(model).functions)
    return [move for move in MOVES if any(move in name for name in names)]


@pytest.mark.parametrize("units", [1, 2, 4, 7])
def test_a_shuffle_is_one_copy(units: int) -> None:
    """Also where a value's channels come from more sources than a copy may have."""
    assert _moves(shuffle_model(units=units)) == []


def test_concatenation_and_split_without_a_shuffle_stay() -> None:
    model = make_model(
        [
            NODE("Relu", ["x"], ["r"], name="relu"),
            NODE("Concat", ["x", "r"], ["c"], name="concat", axis=1),
            NODE("Split", ["c"], ["p", "q", "s"], name="split", axis=1, num_outputs=3),
            NODE("Sub", ["p", "q"], ["y"], name="last"),
        ],
        inputs={"x": ("float32", [1, 6, 2, 3])},
        outputs={"y": ("float32", [1, 4, 2, 3])},
    )
    mod = staged(loaded(model), until="join-channel-moves")
    assert join_channel_moves(mod).script(show_meta=False) == mod.script(show_meta=False)


@pytest.mark.parametrize(
    ("apart", "perm", "shape"),
    [
        ([1, 2, 3, 4, 5], [0, 2, 1, 4, 3], [1, 6, 5, 4]),  # turns the plane, too
        ([1, 6, 2, 2, 5], [0, 2, 1, 3, 4], [1, 12, 2, 5]),  # takes a part of the plane
    ],
)
def test_a_transpose_of_more_than_channels_stays(
    apart: list[int], perm: list[int], shape: list[int]
) -> None:
    model = make_model(
        [
            NODE("Relu", ["x"], ["r"], name="relu"),
            NODE("Reshape", ["r", "apart"], ["a"], name="apart"),
            NODE("Transpose", ["a"], ["t"], name="turn", perm=perm),
            NODE("Reshape", ["t", "together"], ["s"], name="together"),
            NODE("Abs", ["s"], ["y"], name="last"),
        ],
        inputs={"x": ("float32", [1, 6, 4, 5])},
        outputs={"y": ("float32", shape)},
        constants={"apart": np.array(apart), "together": np.array(shape)},
    )
    assert _moves(model) == ["transpose"]


def test_the_module_passed_in_is_left_as_it_was() -> None:
    mod = staged(loaded(shuffle_model()), until="join-channel-moves")
    before = tvm_ffi.structural_hash(mod)
    changed = join_channel_moves(mod)
    assert tvm_ffi.structural_hash(mod) == before
    assert tvm_ffi.structural_hash(changed) != before


def test_same_numbers_in_every_kernel_alone(tmp_path: Path) -> None:
    path = tmp_path / "shuffle.onnx"
    onnx.save(shuffle_model(units=5), path)
    artifact = compile_model(path, target="host", output=tmp_path / "out")
    result = check(artifact.path, load_model(path), per_kernel=True)
    assert result.status.value == "passed"
    assert len(result.kernels) == len(artifact.report()["kernels"])
