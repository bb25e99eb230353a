"""``tunesmith quantize`` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Outcome
from tests.cli.refusals import assert_refused, listing
from tests.onnx_models import conv_net_model, save

Tunesmith = Callable[..., Outcome]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(conv_net_model(), tmp_path / "net.onnx")


def images(count: int = 16) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 16, 16)).astype(np.float32)


def test_table_file_and_report(tunesmith: Tunesmith, tmp_path: Path, model: Path) -> None:
    np.savez(tmp_path / "data.npz", x=images())
    words = ("quantize", model, "--calibration", "data.npz", "-o", "int8.onnx")
    outcome = tunesmith(*words, "--report", "cost.json", "--max-drop", "20%")
    assert outcome.code == 0, outcome.stderr
    for text in ("pointwise", "MACs in int8", "100.0%", "as the float model", "SQNR dB"):
        assert text in outcome.stdout
    onnx.checker.check_model(onnx.load(tmp_path / "int8.onnx"), full_check=True)
    document = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))
    assert document["score"]["agreement"] >= 0.8
    assert document["integer_share"] == 1.0
    assert document["quantized_bytes"] == (tmp_path / "int8.onnx").stat().st_size
    assert listing(tmp_path) == ["cost.json", "data.npz", "int8.onnx", "net.onnx"]


@pytest.mark.emulator
def test_estimates_for_targets(tunesmith: Tunesmith, tmp_path: Path, model: Path) -> None:
    """Before and after: estimated as `inspect` does, or counted in the target's emulator."""
    np.savez(tmp_path / "data.npz", x=images())
    words = ("quantize", model, "--calibration", "data.npz", "-o", "int8.onnx", "--max-drop", "20%")
    outcome = tunesmith(
        *words, "--report", "cost.json", "--target", "cortex-m4f", "--target", "x86-64-v3"
    )
    assert outcome.code == 0, outcome.stderr
    document = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))
    board, server = document["targets"]
    assert board["target"] == "cortex-m4f"
    assert board["instructions"]["need"] > 0
    assert board["instruction_ratio"] == pytest.approx(
        board["instructions"]["need"] / board["float_instructions"]["need"]
    )
    assert board["library_ratio"] > 0
    assert (server["instructions"], server["instruction_ratio"]) == (None, None)
    assert server["library_bytes"]["need"] > 0
    # Functions of the runtime multiply pairs of integers, of which there is no estimate: counted.
    assert board["instructions"]["error"] == board["float_instructions"]["error"] == 0
    assert f"{board['float_instructions']['need']:,}" in outcome.stdout
    assert "not estimated" in outcome.stdout  # a server has no emulator here
    assert "+-" in outcome.stdout  # bytes of libraries


def test_unknown_target_is_refused_before_the_work(
    tunesmith: Tunesmith, tmp_path: Path, model: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=images())
    words = ("quantize", model, "--calibration", "data.npz", "-o", "int8.onnx")
    outcome = tunesmith(*words, "--target", "cortex-m9")
    assert outcome.code == 1
    assert "cortex-m9" in outcome.stderr
    assert not (tmp_path / "int8.onnx").exists()


def test_json_from_a_function_with_labels(
    tunesmith: Tunesmith, tmp_path: Path, model: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=images())
    np.save(tmp_path / "labels.npy", np.zeros(16, np.int64))
    (tmp_path / "feed.py").write_text(
        "import numpy as np\n"
        "def rows():\n"
        "    for image in np.load('data.npz')['x']:\n"
        "        yield {'x': image[None]}\n",
        encoding="utf-8",
    )
    outcome = tunesmith(
        *("quantize", model, "--calibration", "feed.py:rows", "-o", "int8.onnx", "--json"),
        *("--labels", "labels.npy", "--max-drop", "50%", "--ranges", "minmax"),
    )
    assert outcome.code == 0, outcome.stderr
    document = json.loads(outcome.stdout)
    assert document["judged_by"] == "labels"
    assert document["ranges"] == "minmax"
    assert document["calibration_samples"] == 8


@pytest.mark.parametrize(
    ("arrays", "what", "why"),
    [
        ({"image": images()}, "input 'image' is not an input", "inputs are: x"),
        ({"x": images()[:, :2]}, "input 'x' is float32[16, 2, 16, 16]", "float32[1, 3, 16, 16]"),
        ({"x": images() * 0}, "input 'x' is 0 in all 16 samples", "from a constant"),
        ({"x": images().astype(np.float16)}, "input 'x' is float16", "float32[1, 3, 16, 16]"),
        (
            {"x": np.where(images() > 2, np.float32(np.inf), images())},
            "holds NaN or infinity",
            "no scale",
        ),
        ({"x": images(), "labels": np.full(16, 10)}, "labels go from 10 to 10", "classes 0 to 9"),
    ],
)
def test_bad_data_is_named_and_nothing_written(
    tunesmith: Tunesmith,
    tmp_path: Path,
    model: Path,
    arrays: dict[str, np.ndarray],
    what: str,
    why: str,
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]  # NumPy's own example
    outcome = tunesmith("quantize", model, "--calibration", "data.npz", "-o", "int8.onnx")
    assert_refused(outcome, what, why, "")
    assert listing(tmp_path) == ["data.npz", "net.onnx"]


@pytest.mark.parametrize("text", ["0.5", "x%", "101%", "-1%", "5%5"])
def test_shares_are_percent(tunesmith: Tunesmith, model: Path, text: str) -> None:
    words = ("quantize", model, "--calibration", "data.npz", "-o", "int8.onnx", "--max-drop", text)
    outcome = tunesmith(*words)
    assert outcome.code == 2
    assert "write 0.5%" in outcome.stderr
