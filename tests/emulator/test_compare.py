"""Schedules for other processors are compared by the instructions that an emulator counts."""

from __future__ import annotations

from pathlib import Path

import pytest

import compiler
from compiler.errors import NotRunnableError
from compiler.target_spec import load_target
from compiler.tuner.emulator_runner import EmulatorRunner

pytestmark = pytest.mark.emulator


@pytest.mark.parametrize("target", ["cortex-a72", "cortex-m4f"])
def test_instructions_of_schedules(models: Path, target: str) -> None:
    _require_emulator(target)
    kernels = compiler.list_kernels(models / "mnist_dscnn_f32.onnx", target=target)
    found = compiler.compare(kernels.pick("conv2d*"))
    assert found.unit == "instructions"
    assert [one.name for one in found.ranking] == ["default", "fallback"]
    assert found["default"].median < found["fallback"].median / 1.5
    macs = found.kernel.task.macs
    assert found["default"].minimum > macs / 4  # no instruction here does more than four


def _require_emulator(target: str) -> None:
    try:
        with EmulatorRunner(load_target(target)):
            pass
    except NotRunnableError as refusal:
        pytest.skip(str(refusal.what))
