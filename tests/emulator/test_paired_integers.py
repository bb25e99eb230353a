"""Instructions of Arm's DSP extension on drawn operators: the bytes of the contract's reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.differential.test_integer_kernels import same_bytes
from tests.emulator.test_microcontrollers import needs_tools
from tests.onnx_models import save
from tests.paired_models import drawn_operators
from tests.quantized_models import every_integer

CALLED = ("pair_depthwise.c", "pair_rows.c", "pair_sums.c")


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cortex-m4f", "cortex-m7", "cortex-m33"])
def test_drawn_operators(target: str, tmp_path: Path) -> None:
    needs_tools(target)
    model = drawn_operators(3, 15)
    path = save(model, tmp_path / "operators.onnx")
    sets = [every_integer(model, seed) for seed in (0, 1)]
    assert same_bytes(path, target, tmp_path / "out", sets) == []
    runtime = tmp_path / "out" / "src" / "runtime"
    assert {path.name for path in runtime.glob("pair_*.c")} == set(CALLED)
