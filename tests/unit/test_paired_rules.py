"""Rules for machines that multiply pairs of small integers, and the calls that they end in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.stages.operators.integer_dot import integer_dot
from compiler.target_spec import load_target
from schedules.mcu.paired import positions_together
from tests.bare_library import bare_artifact
from tests.quantized_models import all_cases


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        *(("cortex-m4f", True), ("cortex-m7", True), ("cortex-m33", True)),
        *(("cortex-m0plus", False), ("rv32imac", False), ("cortex-a72", False)),
    ],
)
def test_which_targets_multiply_pairs(target: str, expected: bool) -> None:
    spec = load_target(target)
    assert spec.llvm.multiplies_pairs is expected
    assert (integer_dot(spec).row_dtype == "int16") is expected


def test_a_feature_says_otherwise() -> None:
    llvm = load_target("cortex-m33").llvm
    assert not replace(llvm, features=("-dsp",)).multiplies_pairs
    assert replace(llvm, cpu="generic", features=("+dsp",)).multiplies_pairs


@pytest.mark.parametrize(
    ("positions", "depth", "together"),
    [(125, 64, 25), (2304, 16, 32), (9, 256, 8), (7, 4096, 1), (37, 64, 32)],
)
def test_positions_that_are_copied_together(positions: int, depth: int, together: int) -> None:
    assert positions_together(positions, depth) == together


@pytest.mark.parametrize(
    ("case", "called"),
    [
        ("conv", ("pair_rows", "pair_sums")),
        ("conv-clip", ("pair_rows", "pair_sums")),
        ("conv-groups", ("pair_sums",)),
        ("depthwise", ("pair_depthwise", "pair_planes")),
        ("dense", ("pair_rows", "pair_sums")),
    ],
)
def test_kernels_call_the_runtime(
    case: str, called: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    artifact = bare_artifact(all_cases((case,)), tmp_path_factory.mktemp("artifact"))
    kernels = (artifact.path / "src" / "kernels").glob("*.c")
    text = "".join(path.read_text() for path in kernels)
    for name in called:
        assert f"tunesmith_{name}(" in text, name
