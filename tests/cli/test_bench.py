"""``tunesmith bench`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Outcome

Tunesmith = Callable[..., Outcome]


def test_a_model_beside_onnxruntime(tunesmith: Tunesmith, models: Path) -> None:
    model = models / "mlperf_tiny_ad_autoencoder_f32.onnx"
    done = tunesmith("bench", model, "--runs", "6", "--json")
    assert (done.code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    engines = document["models"][0]["engines"]
    assert [engine["engine"] for engine in engines] == ["tunesmith", "onnxruntime"]
    assert all(engine["runs"] == 6 for engine in engines)
    assert all(0 < engine["minimum_us"] <= engine["median_us"] for engine in engines)
    ratio = engines[1]["minimum_us"] / engines[0]["minimum_us"]
    assert abs(engines[1]["ratio"] - ratio) < 1e-9
    assert abs(document["geometric_mean"]["onnxruntime"] - ratio) < 1e-9
    assert document["settings"]["records"] == "none"
    assert document["settings"]["threads"] == 1


def test_with_records_beside_without(tunesmith: Tunesmith, models: Path, tmp_path: Path) -> None:
    model = models / "mlperf_tiny_ad_autoencoder_f32.onnx"
    options = ("--records", tmp_path, "--against", "untuned", "--runs", "4", "--json")
    done = tunesmith("bench", model, *options)
    assert done.code == 0
    document = json.loads(done.stdout)
    engines = document["models"][0]["engines"]
    assert [(engine["engine"], engine["runs"]) for engine in engines] == [
        ("tunesmith", 4),
        ("untuned", 4),
    ]
    assert document["settings"]["records"] == str(tmp_path)
    assert document["models"][0]["best_peer"] is None


def test_the_table(tunesmith: Tunesmith, models: Path) -> None:
    done = tunesmith("bench", models / "mlperf_tiny_ad_autoencoder_f32.onnx", "--runs", "3")
    assert done.code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "engine"]
    assert "tunesmith" in lines[2]
    assert "onnxruntime" in lines[3]
    assert lines[4].startswith("geometric mean of ratios to onnxruntime: ")


def test_an_unknown_engine(tunesmith: Tunesmith, models: Path) -> None:
    done = tunesmith("bench", models / "mnist_dscnn_f32.onnx", "--against", "openvin")
    assert done.code == 1
    assert "unknown engine 'openvin'" in done.stderr
    assert "use 'openvino'" in done.stderr


def test_a_model_is_needed(tunesmith: Tunesmith) -> None:
    assert tunesmith("bench").code == 2
