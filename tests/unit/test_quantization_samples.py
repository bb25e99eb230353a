"""Calibration data: every form, and every refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import InputError
from compiler.onnx_import.model import TensorInfo
from compiler.quantization.samples import read_samples

X = TensorInfo(name="x", dtype="float32", shape=(1, 3))
PAIR = (X, TensorInfo(name="ids", dtype="int64", shape=(2,)))
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_rows_of_an_npz_are_single_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=ROWS, labels=np.array([3, 1, 2, 0]))
    got = read_samples(path, [X])
    assert [sample["x"].tolist() for sample in got.inputs] == [[row] for row in ROWS.tolist()]
    assert got.labels is not None
    assert [label.tolist() for label in got.labels] == [[3], [1], [2], [0]]


def test_samples_may_lie_before_the_models_own_axes() -> None:
    got = read_samples({"x": ROWS[:, None], "ids": np.ones((4, 2), np.int64)}, PAIR)
    assert len(got.inputs) == 4
    assert got.inputs[2]["x"].tolist() == [ROWS[2].tolist()]
    assert got.inputs[2]["ids"].tolist() == [1, 1]


def test_a_batch_is_one_run_and_takes_as_many_labels() -> None:
    batch = TensorInfo(name="x", dtype="float32", shape=(2, 3))
    got = read_samples({"x": ROWS}, [batch], labels=np.array([0, 1, 2, 3]))
    assert [sample["x"].shape for sample in got.inputs] == [(2, 3), (2, 3)]
    assert got.labels is not None
    assert [label.tolist() for label in got.labels] == [[0, 1], [2, 3]]


def test_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", ROWS[2:])
    np.savez(tmp_path / "a.npz", x=ROWS[:2])
    np.save(tmp_path / "labels.npy", np.array(["p", "q", "r", "s"]))
    (tmp_path / "notes.txt").write_text("no array", encoding="utf-8")
    got = read_samples(tmp_path, [X])
    assert [sample["x"][0, 0] for sample in got.inputs] == [0, 3, 6, 9]
    assert got.labels is not None
    assert [str(label[0]) for label in got.labels] == ["p", "q", "r", "s"]


def test_function_in_a_file_and_as_an_object(tmp_path: Path) -> None:
    source = tmp_path / "data.py"
    source.write_text(
        "import numpy as np\n"
        "def rows():\n"
        "    for i in range(1, 4):\n"
        "        yield {'x': np.full((1, 3), i, np.float32), 'labels': i}\n",
        encoding="utf-8",
    )
    got = read_samples(f"{source}:rows", [X])
    assert [sample["x"][0, 0] for sample in got.inputs] == [1, 2, 3]
    assert got.labels is not None
    assert [int(label[0]) for label in got.labels] == [1, 2, 3]

    def yielded() -> Iterator[dict[str, np.ndarray]]:
        yield from ({"x": row[None]} for row in ROWS)

    assert len(read_samples(yielded, [X]).inputs) == 4


@pytest.mark.parametrize(
    ("arrays", "what", "why"),
    [
        ({"image": ROWS}, "'image' is not an input of the model", "inputs are: x"),
        ({"x": ROWS.astype(np.float64)}, "'x' is float64[4, 3]", "takes float32[1, 3]"),
        ({"x": ROWS[:, :2]}, "'x' is float32[4, 2]", "takes float32[1, 3]"),
        ({"x": ROWS * 0}, "'x' is 0 in all 4 samples", "from a constant"),
        ({"x": ROWS * 0 + 7}, "'x' is 7 in all 4 samples", "from a constant"),
        ({"x": np.where(ROWS == 4, np.nan, ROWS)}, "of sample 1 holds NaN", "no scale"),
        ({"x": np.where(ROWS == 9, np.inf, ROWS)}, "of sample 3 holds NaN or inf", "no scale"),
        ({"x": ROWS[:0]}, "there are no samples", "running the model"),
        ({}, "there are no samples", "running the model"),
        ({"x": ROWS, "labels": np.arange(3)}, "3 labels for 4 samples", "needs one"),
        ({"x": ROWS, "labels": np.ones(4)}, "labels are float64[4]", "number of a class"),
        ({"x": ROWS, "labels": np.ones((2, 2), int)}, "labels are int64[2, 2]", "class"),
    ],
)
def test_bad_arrays_are_named(arrays: dict[str, np.ndarray], what: str, why: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_samples(arrays, [X])
    assert what in refusal.value.what
    assert why in refusal.value.why


def test_each_input_is_asked_for_and_counted() -> None:
    with pytest.raises(InputError, match="'ids' is missing"):
        read_samples({"x": ROWS}, PAIR)
    with pytest.raises(InputError, match="different numbers of samples") as refusal:
        read_samples({"x": ROWS, "ids": np.ones((3, 2), np.int64)}, PAIR)
    assert refusal.value.why == "x: 4, ids: 3"


def test_rows_that_fill_no_batch_are_refused() -> None:
    with pytest.raises(InputError, match=r"float32\[4, 3\]"):
        read_samples({"x": ROWS}, [TensorInfo(name="x", dtype="float32", shape=(3, 3))])


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no", encoding="utf-8")
    with pytest.raises(InputError, match=r"text\.npz: not a file of named arrays"):
        read_samples(tmp_path / "text.npz", [X])
    with pytest.raises(InputError, match=r"absent\.npz: cannot be read"):
        read_samples(tmp_path / "absent.npz", [X])
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match="there are no samples"):
        read_samples(folder, [X])
    (folder / "a.npy").write_text("no", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.npy: not an array"):
        read_samples(folder, [X])
    np.save(folder / "a.npy", ROWS)
    with pytest.raises(InputError, match="names no input"):
        read_samples(folder, PAIR)
    with pytest.raises(InputError, match=r"absent\.npy: cannot be read"):
        read_samples({"x": ROWS}, [X], labels=tmp_path / "absent.npy")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("absent_module:rows", "no such function"),
        ("{folder}/data.py:absent", "no such function"),
        ("{folder}/absent.py:rows", "no such function"),
        ("{folder}/data.py:number", "not a function"),
        ("{folder}/data.py:wrong", "yields a int"),
        ("{folder}/data.py:broken", "broken stopped with ZeroDivisionError"),
    ],
)
def test_bad_functions_are_named(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "data.py").write_text(
        "number = 3\ndef wrong():\n    yield 3\ndef broken():\n    yield 1 // 0\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match=what):
        read_samples(name.format(folder=tmp_path), [X])
