"""The kernels of a model, to pick one from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import compiler
from compiler.errors import InputError
from compiler.measure.kernel_list import KernelList


@pytest.fixture(scope="module")
def kernels(models: Path) -> KernelList:
    return compiler.list_kernels(models / "mnist_dscnn_f32.onnx", target="x86-64-v3")


def test_most_work_first(kernels: KernelList) -> None:
    work = [one.task.macs * one.task.calls for one in kernels]
    assert work == sorted(work, reverse=True)
    assert work[0] > 0


def test_pick_by_pattern(kernels: KernelList) -> None:
    assert kernels.pick("*") is kernels[0]
    assert kernels.pick("mean*").operator == "ReduceMean"
    assert kernels.pick("matmul*").name.startswith("matmul")


def test_a_pattern_that_nothing_matches(kernels: KernelList) -> None:
    with pytest.raises(InputError, match="no kernel matches `lstm\\*`") as caught:
        kernels.pick("lstm*")
    assert kernels[0].name in caught.value.why


def test_table(kernels: KernelList) -> None:
    table = kernels.table()
    assert list(table["kernel"]) == [one.name for one in kernels]
    assert set(table["schedule"].str.partition(": ")[0]) == {"rule", "fallback"}
    assert "conv2d" in kernels._repr_html_()


def test_operands_and_constants(kernels: KernelList) -> None:
    task = kernels.pick("matmul*").task
    shapes = [tuple(int(extent) for extent in one.ty.shape) for one in task.func.params]
    known = [one for one in task.constants if one is not None]
    assert len(task.constants) == task.input_count
    assert task.constants[0] is None
    for constant, shape in zip(task.constants, shapes, strict=False):
        assert constant is None or constant.shape == shape
    assert len(known) == task.input_count - 1
    assert all(np.abs(one).max() > 0 for one in known)


def test_bytes_of_operands(kernels: KernelList) -> None:
    kernel = kernels.pick("mean*")  # of 96 planes of 7 x 7
    assert kernel.size_bytes == 4 * 96 * (7 * 7 + 1)
