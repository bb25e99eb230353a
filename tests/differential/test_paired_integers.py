"""Kernels for machines that multiply pairs of small integers, here in plain C: the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bare_library import bare_artifact, run_bare
from tests.integer_reference import IntegerReference
from tests.paired_models import drawn_operators
from tests.quantized_models import all_cases, every_integer


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_drawn_operators(seed: int, tmp_path: Path) -> None:
    model = drawn_operators(seed, 10 if seed == 1 else 60)
    given = every_integer(model, seed)
    outputs = run_bare(bare_artifact(model, tmp_path), given, tmp_path)
    for name, expected in IntegerReference(model).run(given).items():
        assert len(np.unique(expected)) > 3, name
        assert outputs[name].tobytes() == np.ascontiguousarray(expected).tobytes(), name


def test_results_halfway_between_integers(tmp_path: Path) -> None:
    model = all_cases(("halves", "residual"))
    given = every_integer(model, 0)
    outputs = run_bare(bare_artifact(model, tmp_path), given, tmp_path)
    for name, expected in IntegerReference(model).run(given).items():
        assert outputs[name].tobytes() == np.ascontiguousarray(expected).tobytes(), name
