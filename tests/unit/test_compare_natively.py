"""A comparison on this machine, from the operands to the clock, with a planted wrong schedule."""

from __future__ import annotations

from pathlib import Path

import onnx
from tvm.s_tir import Schedule

import compiler
from compiler.measure.kernel_list import KernelList
from tests import onnx_models


def test_a_wrong_schedule_is_caught(tmp_path: Path) -> None:
    right, wrong = onnx_models.dense_model(32, 64, 48), onnx_models.dense_model(32, 64, 48)
    (add,) = [node for node in wrong.graph.node if node.op_type == "Add"]
    add.op_type = "Sub"
    (kernel,) = _kernels(right, tmp_path / "right.onnx")
    (other,) = _kernels(wrong, tmp_path / "wrong.onnx")
    given = {"fallback": "fallback", "planted": Schedule(other.task.func)}
    found = compiler.compare(kernel, given, rounds=3)
    assert found.unit == "us"
    assert {one.name for one in found.ranking} == {"default", "fallback"}
    assert all(one.median > 0 for one in found.ranking)
    assert found["planted"].measured.outcome == "wrong-numbers"
    row = found.table().set_index("name").loc["planted"]
    assert row["reason"]
    assert row[["rank", "median"]].isna().all()


def _kernels(model: onnx.ModelProto, path: Path) -> KernelList:
    return compiler.list_kernels(onnx_models.save(model, path))
