"""``tunesmith verify`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import handmade
from tests.checked_artifacts import Case, make_case
from tests.cli.conftest import Outcome

Tunesmith = Callable[..., Outcome]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("right"))


def test_a_right_library(tunesmith: Tunesmith, right: Case) -> None:
    done = tunesmith("verify", right.artifact.path, "--model", right.path)
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split()[:5] == ["output", "dtype", "shape", "max", "abs"]
    assert lines[2].startswith("y ")
    assert lines[2].endswith(" ok")
    assert lines[-1] == "passed: all outputs within tolerance"


def test_every_kernel_as_json(tunesmith: Tunesmith, right: Case) -> None:
    done = tunesmith("verify", right.artifact.path, "--model", right.path, "--per-kernel", "--json")
    document = json.loads(done.stdout)
    assert done.code == 0
    assert document["status"] == "passed"
    assert [kernel["operator"] for kernel in document["kernels"][:2]] == ["MatMul+Add"] * 2


def test_every_kernel_as_a_table(tunesmith: Tunesmith, right: Case) -> None:
    done = tunesmith("verify", right.artifact.path, "--model", right.path, "--per-kernel")
    assert "no ONNX value" in done.stdout  # of the second layer
    assert done.stdout.count(" ok\n") == 4  # two outputs, two kernels


def test_a_wrong_library(tunesmith: Tunesmith, tmp_path: Path) -> None:
    weights = handmade.two_layers(seed=1).constants[1] * np.float32(1.01)
    wrong = make_case(tmp_path, {1: weights})
    done = tunesmith("verify", wrong.artifact.path, "--model", wrong.path)
    assert done.code == 1
    assert "DIFFERS" in done.stdout
    what, why, fix = done.stderr.splitlines()
    assert what == f"error: {wrong.artifact.path}: the library does not agree with onnxruntime"
    assert "kernel 0 dense (MatMul+Add; ONNX nodes: first) is the first that differs" in why
    assert fix.startswith("  fix: do not use it")


def test_inputs_that_exercise_nothing(tunesmith: Tunesmith, right: Case, tmp_path: Path) -> None:
    arrays = {"in:put": np.zeros((64, 64), np.float32)}
    np.savez(tmp_path / "zeros.npz", allow_pickle=False, **arrays)
    path, model = right.artifact.path, right.path
    done = tunesmith("verify", path, "--model", model, "--inputs", "zeros.npz")
    assert done.code == 1
    assert "the inputs tried do not exercise the model" in done.stderr
    assert "--inputs" in done.stderr


def test_inputs_of_a_wrong_shape(tunesmith: Tunesmith, right: Case, tmp_path: Path) -> None:
    arrays = {"in:put": np.zeros((64, 63), np.float32)}
    np.savez(tmp_path / "small.npz", allow_pickle=False, **arrays)
    path, model = right.artifact.path, right.path
    done = tunesmith("verify", path, "--model", model, "--inputs", "small.npz")
    assert done.code == 1
    assert "input 'in:put' is float32[64, 63]" in done.stderr


def test_the_model_is_needed(tunesmith: Tunesmith, right: Case) -> None:
    done = tunesmith("verify", right.artifact.path)
    assert done.code == 2
    assert "--model" in done.stderr


def test_a_folder_that_is_no_artifact(tunesmith: Tunesmith, right: Case, tmp_path: Path) -> None:
    done = tunesmith("verify", tmp_path, "--model", right.path)
    assert done.code == 1
    assert "is not an artifact" in done.stderr


def test_length_of_vectors_where_there_is_one(tunesmith: Tunesmith, right: Case) -> None:
    words = ("verify", right.artifact.path, "--model", right.path)
    done = tunesmith(*words, "--vector-bits", "512")
    assert done.code == 1
    assert "cannot be run with vectors of 512 bits" in done.stderr
    assert "leave out --vector-bits" in done.stderr
    assert tunesmith(*words, "--vector-bits", "384").code == 2
