"""Wrong arrays, damaged artifacts and foreign ones, through the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from compiler.artifact.manifest import Artifact
from compiler.target_spec import load_target, runs_here
from tests.cli.conftest import Outcome
from tests.cli.refusals import assert_refused, listing

Tunesmith = Callable[..., Outcome]
Compiled = Callable[[str], Artifact]

_MODEL = Path(__file__).parent.parent / "models" / "mnist_dscnn_f32.onnx"


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRun:
    arrays: dict[str, np.ndarray]
    what: str
    why: str
    fix: str


BAD_RUNS = {
    "name": BadRun(
        arrays={"image": np.zeros((1, 1, 28, 28), np.float32)},
        what="the model has no input `image`",
        why="its inputs are: input",
        fix="use one of these names",
    ),
    "missing": BadRun(
        arrays={},
        what="input `input` is missing",
        why="the model needs all of its inputs",
        fix="add an array of float32[1, 1, 28, 28]",
    ),
    "dtype": BadRun(
        arrays={"input": np.zeros((1, 1, 28, 28), np.float64)},
        what="input `input` is float64[1, 1, 28, 28]",
        why="the model was compiled for float32[1, 1, 28, 28]",
        fix="array.astype('float32')",
    ),
    "shape": BadRun(
        arrays={"input": np.zeros((2, 1, 28, 28), np.float32)},
        what="input `input` is float32[2, 1, 28, 28]",
        why="the model was compiled for float32[1, 1, 28, 28]",
        fix="give it that shape, or compile the model with --shape input=2x1x28x28",
    ),
    "rank": BadRun(
        arrays={"input": np.zeros((28, 28), np.float32)},
        what="input `input` is float32[28, 28]",
        why="the model was compiled for float32[1, 1, 28, 28]",
        fix="give it that shape\n",
    ),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_run_refuses_wrong_arrays(
    tunesmith: Tunesmith, tmp_path: Path, compiled: Compiled, name: str
) -> None:
    case = BAD_RUNS[name]
    np.savez(tmp_path / "in.npz", allow_pickle=False, **case.arrays)
    folder = compiled("mnist_dscnn_f32").path
    outcome = tunesmith("run", folder, "--inputs", "in.npz", "--outputs", "out.npz")
    assert_refused(outcome, case.what, case.why, case.fix)
    assert listing(tmp_path) == ["in.npz"]


@pytest.fixture
def copy(compiled: Compiled, tmp_path: Path) -> Path:
    """A copy of a sound artifact, to be damaged."""
    return Path(shutil.copytree(compiled("mnist_dscnn_f32").path, tmp_path / "copy"))


def _library(folder: Path) -> Path:
    return folder / "lib" / "libmnist_dscnn_f32.so"


def _flip_a_bit(folder: Path) -> None:
    data = bytearray(_library(folder).read_bytes())
    data[len(data) // 2] ^= 1
    _library(folder).write_bytes(data)


def _cut(folder: Path) -> None:
    data = _library(folder).read_bytes()
    _library(folder).write_bytes(data[: len(data) // 2])


def _cut_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    (folder / "manifest.json").write_text(text[: len(text) // 2], encoding="utf-8")


DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "library-bit": (_flip_a_bit, "lib/libmnist_dscnn_f32.so is damaged", "its sha256 is "),
    "library-cut": (_cut, "lib/libmnist_dscnn_f32.so is damaged", "its sha256 is "),
    "library-gone": (
        lambda folder: _library(folder).unlink(),
        "lib/libmnist_dscnn_f32.so cannot be read",
        "No such file or directory",
    ),
    "manifest-cut": (_cut_manifest, "manifest.json is damaged", "it is not JSON: "),
    "manifest-gone": (
        lambda folder: (folder / "manifest.json").unlink(),
        "is not an artifact",
        "manifest.json cannot be read: No such file or directory",
    ),
}


@pytest.mark.parametrize("verb", ["run", "verify"])
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_artifact_is_refused(
    tunesmith: Tunesmith, copy: Path, name: str, verb: str
) -> None:
    damage, what, why = DAMAGES[name]
    damage(copy)
    more = ("--model", _MODEL) if verb == "verify" else ()
    assert_refused(tunesmith(verb, copy, *more), what, why, "co")


def test_artifact_for_another_cpu_is_refused_at_load(tunesmith: Tunesmith, tmp_path: Path) -> None:
    """By the feature check of the library itself: not by SIGILL, which has another exit code."""
    foreign = [name for name in ("sapphire-rapids", "znver4") if not runs_here(load_target(name))]
    if not foreign:
        pytest.skip("this CPU has every feature of sapphire-rapids and of znver4")
    words = ("compile", _MODEL, "--target", foreign[0], "-o")
    made = tunesmith(*words, "out")
    assert made.code == 0, made.stderr
    assert "not run: the library needs the CPU feature " in made.stdout
    assert ".out-" not in (tmp_path / "out" / "verification.json").read_text(encoding="utf-8")
    refused = tunesmith("run", "out")
    assert_refused(refused, "out needs the CPU feature ", foreign[0], "--target host")
    refused = tunesmith(*words, "checked", "--require-verify")
    assert_refused(refused, "the library was not checked", "CPU feature", "--require-verify")
    assert not (tmp_path / "checked").exists()
