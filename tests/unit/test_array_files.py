"""Reading and writing named arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.array_files import read_arrays, write_arrays
from compiler.errors import InputError


def test_arrays_come_back_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    arrays: dict[str, np.ndarray] = {
        "file": np.arange(3, dtype=np.int8),
        "StatefulPartitionedCall_1:0": np.eye(2, dtype=np.float32),
        "scalar": np.array(2.5),
    }
    write_arrays(path, arrays)
    back = read_arrays(path)
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, strict=True)
    with np.load(path) as archive:
        assert archive.files == list(arrays)


def test_files_of_numpy_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "in.npz", x=np.ones(4))
    assert read_arrays(tmp_path / "in.npz")["x"].tolist() == [1, 1, 1, 1]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_arrays(tmp_path / "in.npz")
    assert str(caught.value) == (
        f"{tmp_path / 'in.npz'}: cannot be read\n"
        "  why: No such file or directory\n"
        "  fix: check the path and its permissions"
    )


def test_single_array_is_not_named_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.ones(4))
    with pytest.raises(InputError) as caught:
        read_arrays(tmp_path / "in.npy")
    assert str(caught.value) == (
        f"{tmp_path / 'in.npy'}: not a file of named arrays (.npz)\n"
        "  why: it is not the zip file that numpy.savez writes\n"
        "  fix: write it with numpy.savez(path, **{input_name: array})"
    )


@pytest.mark.parametrize("kept_share", [0.0, 0.3, 0.9])
def test_truncated_file(tmp_path: Path, kept_share: float) -> None:
    np.savez(tmp_path / "in.npz", x=np.ones(400), y=np.ones(3))
    whole = (tmp_path / "in.npz").read_bytes()
    (tmp_path / "in.npz").write_bytes(whole[: int(len(whole) * kept_share)])
    with pytest.raises(InputError, match="not a file of named arrays"):
        read_arrays(tmp_path / "in.npz")


def test_damaged_member(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.ones(400))
    damaged = bytearray((tmp_path / "in.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "in.npz").write_bytes(damaged)
    with pytest.raises(InputError, match="not a file of named arrays"):
        read_arrays(tmp_path / "in.npz")


def test_python_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="not a file of named arrays"):
        read_arrays(tmp_path / "in.npz")


def test_member_that_is_no_array(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "in.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(InputError) as caught:
        read_arrays(tmp_path / "in.npz")
    assert caught.value.why == "`notes.txt` in it is no array"


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    write_arrays(path, {"x": np.zeros(1)})
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_arrays(path, {"x": np.ones(1), "y": np.array([{}], dtype=object)})
    assert read_arrays(path)["x"].tolist() == [0]
    assert list(tmp_path.iterdir()) == [path]
