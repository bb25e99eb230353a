"""``tunesmith run``, with a library in Python in place of a compiled one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from compiler.array_files import read_arrays
from compiler.cli import exit_code
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import InputError
from compiler.runners.runner import RunnerResult


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Doubler:
    """y = 2 x."""

    threads: int
    inputs = (Tensor("x", "float32", (2, 3)),)
    outputs = (Tensor("y", "float32", (2, 3)),)

    def run(self, inputs: Sequence[Mapping[str, np.ndarray]]) -> RunnerResult:
        (arrays,) = inputs
        if set(arrays) != {"x"}:
            raise InputError("no input `x`", why="the model has it", fix="give it")
        return RunnerResult(outputs=({"y": np.asarray(2 * arrays["x"])},))

    def __enter__(self) -> Doubler:
        return self

    def __exit__(self, *error: object) -> None: ...


@pytest.fixture(autouse=True)
def doubler(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_runner(path: Path, threads: int = 1, board: object = None) -> Doubler:
        assert path == Path("lib-folder")
        assert board is None
        return Doubler(threads)

    monkeypatch.setattr("compiler.runners.open_runner.open_runner", open_runner)


def test_table_of_outputs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.arange(6, dtype=np.float32).reshape(2, 3))
    assert exit_code(["run", "lib-folder", "--inputs", str(tmp_path / "in.npz")]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "output  dtype    shape  min  max  mean  first values\n"
        "------  -------  -----  ---  ---  ----  ------------\n"
        "y       float32  2x3      0   10     5  0 2 4 6 ...\n"
    )
    assert captured.err == ""


def test_json_of_outputs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    array = np.array([[1, np.nan, 0], [0, 0, 0]], dtype=np.float32)
    np.savez(tmp_path / "in.npz", x=array)
    assert exit_code(["run", "lib-folder", "--inputs", str(tmp_path / "in.npz"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["inputs"] == str(tmp_path / "in.npz")
    assert document["outputs"] == [
        {
            "name": "y",
            "dtype": "float32",
            "shape": [2, 3],
            "min": None,
            "max": None,
            "mean": None,
            "first": [2.0, None, 0.0, 0.0],
        }
    ]


def test_outputs_are_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert exit_code(["run", "lib-folder", "--outputs", str(out)]) == 0
    np.testing.assert_array_equal(
        read_arrays(out)["y"], 2 * drawn_inputs(Doubler.inputs)["x"], strict=True
    )
    assert capsys.readouterr().err == "no --inputs: ran on drawn inputs\n"


def test_outputs_into_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert exit_code(["run", "lib-folder", "--outputs", str(tmp_path / "no" / "out.npz")]) == 1
    error = capsys.readouterr().err
    assert "No such file or directory" in error
    assert error.endswith("fix: check the path\n")


def test_inputs_that_are_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert exit_code(["run", "lib-folder", "--inputs", str(tmp_path / "in.npz")]) == 1
    assert "cannot be read\n  why: No such file or directory\n" in capsys.readouterr().err


def test_inputs_of_another_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", z=np.ones(3))
    assert exit_code(["run", "lib-folder", "--inputs", str(tmp_path / "in.npz")]) == 1
    assert capsys.readouterr().err.startswith("error: no input `x`\n")


def test_no_threads_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["run", "lib-folder", "--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("float32", -5, 5),
        ("bool", 0, 1),
        ("int8", -128, 127),
        ("uint8", 0, 255),
        ("int64", 0, 9),
    ],
)
def test_drawn_inputs_spread_and_repeat(dtype: str, low: int, high: int) -> None:
    tensors = (Tensor("x", dtype, (4, 5000)), Tensor("scalar", dtype, ()))
    arrays = drawn_inputs(tensors)
    again = drawn_inputs(tensors)
    for tensor in tensors:
        assert str(arrays[tensor.name].dtype) == dtype
        assert arrays[tensor.name].shape == tensor.shape
        np.testing.assert_array_equal(arrays[tensor.name], again[tensor.name])
    assert arrays["x"].min() >= low
    assert arrays["x"].max() <= high
    assert len(np.unique(arrays["x"])) >= min(high - low, 200) - 5


def test_drawn_bfloat16_is_bits() -> None:
    bits = drawn_inputs([Tensor("x", "bfloat16", (4, 5000))])["x"]
    assert str(bits.dtype) == "uint16"
    values = (bits.astype("uint32") << 16).view("float32")
    assert abs(float(values.std()) - 1) < 0.05
