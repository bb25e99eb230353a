"""``tunesmith compile`` as a user runs it: what it says, and same bytes for same input."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.cli.conftest import Outcome
from tests.onnx_models import conv_net_model, make_model, save

Tunesmith = Callable[..., Outcome]

_MNIST = "mnist_dscnn_qdq8"


def _bytes(artifact: Path) -> dict[str, str]:
    """Digest of each file, and whether it may be executed; without what was observed afterwards."""
    return {
        str(path.relative_to(artifact)): hashlib.sha256(path.read_bytes()).hexdigest()
        + (" x" if path.stat().st_mode & 0o100 else "")
        for path in artifact.rglob("*")
        if path.is_file() and path.name != "verification.json"
    }


def test_summary(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_net_model(), tmp_path / "net.onnx")
    outcome = tunesmith("compile", "net.onnx", "--target", "host", "-o", "out")
    assert (outcome.code, outcome.stderr) == (0, "")  # no progress where there is no terminal
    facts = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines())
    assert facts["artifact"] == "out"
    size = (tmp_path / "out" / "lib" / "libnet.so").stat().st_size
    assert facts["library"] == f"lib/libnet.so, {size:,} bytes"
    assert facts["check"] == "passed: all outputs within tolerance"
    assert facts["arena"].endswith(")")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("CMakeLists.txt", "examples", "include", "lib", "manifest.json", "report.json", "src"),
        "verification.json",
    ]


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
def test_summary_says_that_inputs_and_outputs_are_counted(
    tunesmith: Tunesmith, tmp_path: Path
) -> None:
    save(conv_net_model(), tmp_path / "net.onnx")
    words = ("compile", "net.onnx", "--target", "cortex-m4f", "-o", "out", "--no-verify")
    outcome = tunesmith(*words, "--io-memory", "arena")
    assert outcome.code == 0, outcome.stderr
    facts = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines())
    assert facts["arena"].endswith("), inputs and outputs in it")


def test_summary_as_json(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_net_model(), tmp_path / "net.onnx")
    words = ("compile", "net.onnx", "--target", "x86-64-v3", "-o", "out", "--no-verify", "--json")
    outcome = tunesmith(*words)
    assert outcome.code == 0, outcome.stderr
    document = json.loads(outcome.stdout)
    assert document["artifact"] == "out"
    assert document["target"] == "x86-64-v3"
    assert document["verification"] == {"status": "not checked", "reason": "--no-verify"}
    assert document["totals"]["arena_bytes"] >= document["totals"]["lower_bound_bytes"]
    assert not (tmp_path / "out" / "verification.json").exists()


def test_same_bytes_from_everywhere(tunesmith: Tunesmith, tmp_path: Path, models: Path) -> None:
    """Another current folder, output, model path, hash seed, locale and number of jobs."""
    first = tunesmith(
        *("compile", models / f"{_MNIST}.onnx", "--target", "host", "-o", "one", "--jobs", "1"),
        PYTHONHASHSEED="1",
    )
    assert first.code == 0, first.stderr
    (tmp_path / "a b" / "c").mkdir(parents=True)
    shutil.copy(models / f"{_MNIST}.onnx", tmp_path / "a b")
    second = tunesmith(
        *("compile", f"../{_MNIST}.onnx", "--target", "host", "-o", tmp_path / "x" / "two"),
        *("--jobs", "3", "--no-verify"),
        folder=tmp_path / "a b" / "c",
        **{"PYTHONHASHSEED": "77", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "5", "CFLAGS": "-O0"},
    )
    assert second.code == 0, second.stderr
    ours, theirs = _bytes(tmp_path / "one"), _bytes(tmp_path / "x" / "two")
    assert len(ours) >= 15
    assert ours == theirs


def test_no_path_is_in_an_artifact(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_net_model(), tmp_path / "net.onnx")
    output = tmp_path / "secret-place" / "out"
    assert tunesmith("compile", "net.onnx", "--target", "host", "-o", output).code == 0
    for path in output.rglob("*"):
        assert path.is_dir() or b"secret-place" not in path.read_bytes(), path


def test_weights_as_c_source(tunesmith: Tunesmith, tmp_path: Path) -> None:
    """The other form gives the same numbers."""
    save(conv_net_model(), tmp_path / "net.onnx")
    for form in ("c", "incbin"):
        words = ("compile", "net.onnx", "--target", "host", "--weights-form", form, "-o", form)
        assert tunesmith(*words).code == 0
        assert tunesmith("run", form, "--outputs", f"{form}.npz").code == 0
    assert not list((tmp_path / "c").rglob("*.S"))
    results = [np.load(tmp_path / f"{form}.npz")["y"] for form in ("c", "incbin")]
    np.testing.assert_array_equal(results[0], results[1])


def test_shape_value_and_inputs(tunesmith: Tunesmith, tmp_path: Path) -> None:
    """As a user has them: dynamic sizes, a scalar that becomes a constant, inputs for the check."""
    nodes = [
        helper.make_node("Cast", ["factor"], ["f"], name="cast", to=1),
        helper.make_node("Mul", ["x", "f"], ["y"], name="scale"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", ["N", "length"]), "factor": ("int64", [])},
        outputs={"y": ("float32", ["N", "length"])},
    )
    save(model, tmp_path / "m.onnx")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "in.npz", x=x)
    words = ("compile", "m.onnx", "--target", "host", "-o", "out", "--inputs", "in.npz")
    done = tunesmith(*words, "--shape", "x=2x3", "--value", "factor=7", "--require-verify")
    assert done.code == 0, done.stderr
    assert tunesmith("run", "out", "--inputs", "in.npz", "--outputs", "out.npz").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], 7 * x)


def test_stages_are_dumped(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_net_model(), tmp_path / "net.onnx")
    words = ("compile", "net.onnx", "--target", "host", "-o", "out", "--dump-stages", "dump")
    assert tunesmith(*words, "--no-verify").code == 0
    dumped = sorted(path.name for path in (tmp_path / "dump").iterdir())
    stages = json.loads((tmp_path / "out" / "manifest.json").read_text())["provenance"]["stages"]
    assert [name.partition("-")[2].removesuffix(".py") for name in dumped][-len(stages) :] == stages


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--limit", "ram=5"), "'ram' is no limit; limits are: flash_bytes, ram_bytes"),
        (("--limit", "ram_bytes=-5"), "write ram_bytes=65536, a whole number"),
        (("--shape", "x=1xbig"), "write NAME=1x3x224x224"),
        (("--no-verify", "--require-verify"), "exclude each other"),
        (("--jobs", "0"), "--jobs"),
        (("--precision", "half"), "'half' is not one of 'float32', 'tf32', 'fp16', 'bf16'"),
        ((), "Missing option '--target'"),
    ],
)
def test_wrong_usage(tunesmith: Tunesmith, words: tuple[str, ...], what: str) -> None:
    target = ("--target", "host") if words else ()
    outcome = tunesmith("compile", "m.onnx", "-o", "out", *target, *words)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert what in outcome.stderr


def test_required_records(tunesmith: Tunesmith, tmp_path: Path) -> None:
    save(conv_net_model(), tmp_path / "net.onnx")
    words = ("compile", "net.onnx", "--target", "host", "-o", "out", "--require-records")
    usage = tunesmith(*words)
    assert usage.code == 2
    assert "--require-records needs a folder of them: give --records too" in usage.stderr
    (tmp_path / "logs").mkdir()
    refused = tunesmith(*words, "--records", "logs")
    assert refused.code == 1
    what, *kernels, why, fix = refused.stderr.splitlines()
    assert what.startswith("error: 6 of 6 kernels have no tuning record")
    assert "    softmax_float32_1x10: no record" in kernels
    assert "these have none for host with " in why
    assert fix == (
        "  fix: give the folder that has them (--records DIR), or leave out --require-records"
    )
    assert not (tmp_path / "out").exists()
