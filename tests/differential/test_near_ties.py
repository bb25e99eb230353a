"""Results on and beside the middle between two integers: the contract's bytes, on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bare_library import bare_artifact, run_bare
from tests.differential.test_integer_kernels import same_bytes
from tests.integer_reference import IntegerReference
from tests.near_ties import MISTAKES, near_ties
from tests.onnx_models import save


@pytest.mark.parametrize("target", ["host", pytest.param("x86-64-v3", marks=pytest.mark.slow)])
def test_same_bytes(target: str, tmp_path: Path) -> None:
    model, given = near_ties()
    path = save(model, tmp_path / "ties.onnx")
    assert same_bytes(path, target, tmp_path / "out", [given]) == []


@pytest.mark.slow
def test_same_bytes_by_c_for_microcontrollers(tmp_path: Path) -> None:
    model, given = near_ties()
    outputs = run_bare(bare_artifact(model, tmp_path), given, tmp_path)
    for name, expected in IntegerReference(model).run(given).items():
        assert outputs[name].tobytes() == np.ascontiguousarray(expected).tobytes(), name


# How many of the outputs a mistake changes at least: of each kind of kernel that it concerns.
@pytest.mark.parametrize(
    ("mistake", "outputs"),
    [
        ("fused multiply-add", 4),
        ("halves away from zero", 6),
        ("sums divided", 4),
        ("multiplied by the reciprocal of a scale", 1),
    ],
)
def test_other_roundings_give_other_bytes(mistake: str, outputs: int) -> None:
    model, given = near_ties()
    right, wrong = (kind(model).run(given) for kind in (IntegerReference, MISTAKES[mistake]))
    changed = [name for name, array in right.items() if not np.array_equal(array, wrong[name])]
    assert len(changed) >= outputs
