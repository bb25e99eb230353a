"""``tunesmith profile`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compiler.array_files import write_arrays
from compiler.artifact.manifest import Artifact
from tests.cli.conftest import Outcome

Tunesmith = Callable[..., Outcome]
MODEL = "mlperf_tiny_ad_autoencoder_f32"
CALL_KEYS = {
    *("index", "kernel", "operator", "onnx_nodes", "schedule_source", "schedule_name", "share"),
    *("minimum_us", "median_us", "macs", "bytes", "gflops", "gbytes_per_s"),
    *("compute_share", "memory_share", "peak_share", "bound"),
}


@pytest.fixture
def artifact(compiled: Callable[[str], Artifact]) -> Artifact:
    return compiled(MODEL)


def test_every_kernel_is_listed(tunesmith: Tunesmith, artifact: Artifact, tmp_path: Path) -> None:
    words = ("--runs", "3", "--threads", "2", "--trace", "trace.json", "--json")
    done = tunesmith("profile", artifact.path, *words)
    assert (done.code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    kernels = artifact.report()["kernels"]
    assert document["schema_version"] == 1
    assert document["settings"]["runs"] == 3
    assert document["settings"]["records_used"] == []
    assert document["peaks"]["threads"] == 2
    assert [call["kernel"] for call in document["calls"]] == [k["kernel"] for k in kernels]
    assert all(set(call) == CALL_KEYS for call in document["calls"])
    assert all(0 < call["minimum_us"] <= call["median_us"] for call in document["calls"])
    assert document["calls"][0]["onnx_nodes"] == kernels[0]["onnx_nodes"]
    assert sum(call["share"] for call in document["calls"]) == pytest.approx(1.0)
    assert document["total"]["macs"] == artifact.report()["totals"]["macs"]
    assert sum(part["calls"] for part in document["schedules"]) == len(kernels)
    assert document["run"]["minimum_us"] <= document["run"]["median_us"]
    trace = json.loads((tmp_path / "trace.json").read_text())
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert {span["args"]["call"] for span in spans} == {kernel["index"] for kernel in kernels}


def test_the_table(tunesmith: Tunesmith, artifact: Artifact) -> None:
    done = tunesmith("profile", artifact.path, "--runs", "2")
    assert done.code == 0
    assert done.stderr == "no --inputs: ran on drawn inputs\n"
    lines = done.stdout.splitlines()
    count = len(artifact.report()["kernels"])
    assert lines[0].split()[:3] == ["call", "operator", "schedule"]
    assert {int(line.split()[0]) for line in lines[2 : 2 + count]} == set(range(count))
    assert lines[2 + count].split()[0] == "total"
    assert lines[4 + count].startswith("schedule ")
    assert lines[-3].startswith("whole run: ")
    assert lines[-2].startswith("measured peaks: ")
    assert lines[-1].startswith("1 thread(s), 2 runs, ")


def test_inputs_of_the_user(tunesmith: Tunesmith, artifact: Artifact, tmp_path: Path) -> None:
    tensor = artifact.manifest.inputs[0]
    arrays = {tensor.name: np.ones(tensor.shape, tensor.dtype)}
    write_arrays(tmp_path / "in.npz", arrays)
    done = tunesmith("profile", artifact.path, "--inputs", "in.npz", "--runs", "1", "--json")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["settings"]["inputs"] == "given"


def test_an_unknown_input(tunesmith: Tunesmith, artifact: Artifact, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", nothing=np.ones(3))
    done = tunesmith("profile", artifact.path, "--inputs", "in.npz")
    assert (done.code, done.stdout) == (1, "")
    assert "the model has no input `nothing`" in done.stderr


def test_no_artifact(tunesmith: Tunesmith, tmp_path: Path) -> None:
    done = tunesmith("profile", tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert "is not an artifact" in done.stderr


def test_no_compiler(tunesmith: Tunesmith, artifact: Artifact) -> None:
    done = tunesmith("profile", artifact.path, CC="no-such-cc")
    assert (done.code, done.stdout) == (1, "")
    assert "no C compiler: `no-such-cc` was not found" in done.stderr
