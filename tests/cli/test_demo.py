"""``tunesmith demo``, whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler import demo
from compiler.cli import exit_code


def test_demo_reads_digits_as_well_as_onnxruntime(
    tunesmith: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = tunesmith("demo", "--json", "-o", "digits")
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert (tmp_path / result["folder"] / "manifest.json").exists()
    assert result["ours"]["image_count"] == 1000
    # 0.2 points of 1,000 images
    assert abs(result["ours"]["correct_count"] - result["reference"]["correct_count"]) <= 2
    assert result["reference"]["correct_count"] >= 980  # the test set was fed as it was trained on
    assert result["largest_difference"] <= 1e-4 * result["largest_output"]
    assert result["library_bytes"] > result["weight_bytes"] > 0
    assert result["arena_bytes"] > 0
    assert min(result["ours"]["us_per_image"], result["reference"]["us_per_image"]) > 0


def test_table_of_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def engine(name: str, correct: int, us: float) -> demo.EngineResult:
        return demo.EngineResult(
            engine=name, correct_count=correct, image_count=1000, us_per_image=us
        )

    result = demo.DemoResult(
        folder=Path("demo-output"),
        ours=engine("tunesmith", 983, 41.26),
        reference=engine("onnxruntime", 982, 52.6),
        largest_difference=2.9e-6,
        largest_output=16.94,
        library_bytes=198_392,
        weight_bytes=86_464,
        arena_bytes=175_616,
        needs=("libm.so.6", "libc.so.6"),
    )
    monkeypatch.setattr(demo, "run_demo", lambda *_: result)
    assert exit_code(["demo"]) == 0
    assert capsys.readouterr().out == (
        "A network that reads handwritten digits, on 1,000 images it has never seen,\n"
        "one image at a time on one thread:\n"
        "\n"
        "             right answers  time per image\n"
        "-----------  -------------  --------------\n"
        "tunesmith           98.3 %         41.3 us\n"
        "onnxruntime         98.2 %         52.6 us\n"
        "\n"
        "The two outputs differ by at most 2.9e-06 (the largest output is 16.9).\n"
        "\n"
        "library            198,392 bytes, 86,464 bytes of weights in it\n"
        "memory for a run   175,616 bytes\n"
        "needs at run time  libm.so.6, libc.so.6\n"
        "it lies in         demo-output (lib/, include/, src/, CMakeLists.txt, reports)\n"
        "\n"
        "Next: tunesmith run demo-output\n"
    )


def test_demo_without_the_repository(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "MODEL", tmp_path / "mnist_dscnn_f32.onnx")
    assert exit_code(["demo", "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        "error: the demo needs mnist_dscnn_f32.onnx, which is not here\n"
        "  why: the trained model and its test set are in the repository, not in the package\n"
        "  fix: run `make demo` in a clone of the repository\n"
    )
    assert list(tmp_path.iterdir()) == []
