"""Weights in 16 bits on other processors, in QEMU: the same numbers, at little more cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.drawn_inputs import drawn_inputs
from compiler.pipeline import compile
from compiler.runners.open_runner import open_runner

pytestmark = pytest.mark.emulator

# Of float32, at most: measured 1.10 for vww on cortex-m4f.
MOST_INSTRUCTIONS = 1.15


@pytest.mark.parametrize(
    "target",
    ["neoverse-v1", "neoverse-n1", "rv64gc", "rv64gcv", "cortex-m0plus", "cortex-m7", "cortex-m55"],
)
def test_library_agrees_with_onnxruntime_on_rounded_weights(
    target: str, models: Path, tmp_path: Path
) -> None:
    model = models / "mnist_dscnn_f32.onnx"
    made = compile(model, target=target, output=tmp_path / "o", weights="fp16", verify="require")
    constants = [v for v in made.report()["values"] if v["kind"] == "constant"]
    assert sum(value["dtype"] == "float16" for value in constants) >= 5
    assert not made.report()["float_weights"]


def test_pairs_of_halves_cost_little_on_a_cortex_m(models: Path, tmp_path: Path) -> None:
    counts, flash = [], []
    for form in ("model", "fp16"):
        made = compile(
            models / "mlperf_tiny_vww_mobilenetv1_f32.onnx",
            target="cortex-m4f",
            output=tmp_path / form,
            weights=form,
        )
        with open_runner(made) as runner:
            counted = runner.run([drawn_inputs(runner.inputs)], count=True).instruction_count
        assert counted is not None
        counts.append(counted)
        flash.append(made.report()["totals"]["weight_bytes"])
    assert counts[1] <= MOST_INSTRUCTIONS * counts[0]
    assert flash[1] <= 0.51 * flash[0]
