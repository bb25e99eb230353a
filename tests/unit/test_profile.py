"""Arithmetic of profiles, the trace's form, and the code with clocks on a model made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.errors import ArtifactError, InputError, LimitError, ToolchainError
from compiler.library import load
from compiler.measure.peaks import Peaks
from compiler.measure.profile import profile
from compiler.measure.profile_result import ProfileResult, Rates, call_profiles
from compiler.measure.profile_trace import trace_events, write_trace
from compiler.runners import profile_harness
from compiler.runners.profile_harness import ProfileHarness, Span, readings
from tests import handmade

PEAKS = Peaks(fma_gflops=100.0, memory_gbytes_per_s=20.0, threads=1, vector_bits=256)


def rates(*, us: float, macs: int, size: int) -> Rates:
    return Rates(minimum_us=us, median_us=us, macs=macs, bytes=size, peaks=PEAKS)


def kernel(index: int, name: str, source: str, *, macs: int, size: int) -> dict[str, Any]:
    """An entry of report.json, as far as a profile reads it."""
    return {
        "index": index,
        "kernel": f"kernel_{index}",
        "operator": "Conv",
        "onnx_nodes": [f"node{index}"],
        "macs": macs,
        "bytes": size,
        "schedule": {"source": source, "name": name, "reason": ""},
    }


def result() -> ProfileResult:
    kernels = [
        kernel(0, "conv2d", "rule", macs=100_000, size=40_000),
        kernel(1, "tile", "fallback", macs=0, size=40_000),
        kernel(2, "conv2d", "rule", macs=200_000, size=0),
    ]
    times = [[2_000, 4_000, 3_000], [10_000, 10_000, 10_000], [8_000, 9_000, 9_500]]
    return ProfileResult(
        calls=call_profiles(kernels, times, PEAKS),
        run_minimum_us=21.0,
        run_median_us=22.0,
        peaks=PEAKS,
        settings={"threads": 1},
    )


def test_rates_count_two_operations_for_each_mac() -> None:
    found = rates(us=2.0, macs=50_000, size=10_000)
    assert found.gflops == pytest.approx(50.0)
    assert found.gbytes_per_s == pytest.approx(5.0)
    assert found.compute_share == pytest.approx(0.5)
    assert found.memory_share == pytest.approx(0.25)
    assert found.bound == "compute"
    assert found.peak_share == pytest.approx(0.5)


def test_the_nearer_peak_is_the_bound() -> None:
    found = rates(us=2.0, macs=50_000, size=30_000)
    assert found.bound == "memory"
    assert found.peak_share == pytest.approx(0.75)


def test_a_call_too_short_for_the_clock_has_no_rates() -> None:
    found = rates(us=0.0, macs=1, size=4)
    assert (found.gflops, found.gbytes_per_s, found.peak_share) == (0.0, 0.0, 0.0)


def test_calls_have_minimum_median_and_share() -> None:
    first, second, third = result().calls
    assert (first.rates.minimum_us, first.rates.median_us) == (2.0, 3.0)
    assert [call.share for call in (first, second, third)] == [0.1, 0.5, 0.4]
    assert (second.schedule, second.onnx_nodes) == ("fallback: tile", ("node1",))


def test_total_is_the_sum_of_calls() -> None:
    total = result().total
    assert (total.minimum_us, total.median_us) == (20.0, 22.0)
    assert (total.macs, total.bytes) == (300_000, 80_000)
    assert total.gflops == pytest.approx(30.0)


def test_calls_by_time_and_by_schedule() -> None:
    found = result()
    assert [call.index for call in found.longest_first] == [1, 2, 0]
    parts = {part.schedule: part for part in found.schedules}
    assert parts["rule: conv2d"].calls == 2
    assert parts["rule: conv2d"].share == pytest.approx(0.5)
    assert parts["rule: conv2d"].rates.gflops == pytest.approx(60.0)
    assert parts["fallback: tile"].rates.minimum_us == 10.0


def test_frame_has_a_row_per_call() -> None:
    frame = result().to_frame()
    assert list(frame["index"]) == [0, 1, 2]
    assert frame["share"].sum() == pytest.approx(1.0)


def test_a_model_without_calls() -> None:
    empty = ProfileResult(calls=(), run_minimum_us=0.1, run_median_us=0.1, peaks=PEAKS, settings={})
    assert (empty.total.minimum_us, empty.schedules) == (0, ())
    assert empty.as_json()["total"]["gflops"] == 0.0


def test_readings_add_the_phases_of_a_call() -> None:
    # One run: the start, three steps (the last two are one call), after the last, the end.
    stamps = np.array([[100, 110, 130, 160, 200, 205]], np.int64)
    found = readings(stamps, [0, 1, 3])
    assert found.calls.tolist() == [[20, 70]]
    assert found.runs.tolist() == [105]


def test_trace_events() -> None:
    spans = [
        Span(call=1, phase=0, thread=0, begin_ns=0, end_ns=1_500, items=3),
        Span(call=1, phase=0, thread=1, begin_ns=250, end_ns=1_250, items=2),
    ]
    trace = trace_events(spans, result().calls, title="net", threads=2)
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"][1:3]}
    assert names == {0: "calling thread", 1: "helper 1"}
    first, second = trace["traceEvents"][3:]
    assert (first["ph"], first["ts"], first["dur"], first["tid"]) == ("X", 0.0, 1.5, 0)
    assert (second["ts"], second["dur"], second["tid"]) == (0.25, 1.0, 1)
    assert second["args"]["kernel"] == "kernel_1"
    assert second["args"]["work items"] == 2


def test_a_trace_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    write_trace(path, {"traceEvents": []})
    with pytest.raises(TypeError):
        write_trace(path, {"traceEvents": [object()]})
    assert json.loads(path.read_text()) == {"traceEvents": []}
    assert [file.name for file in tmp_path.iterdir()] == ["trace.json"]


@pytest.fixture(scope="module")
def artifact_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.build(tmp_path_factory.mktemp("profile") / "kws").path


@pytest.fixture
def harness(artifact_path: Path) -> ProfileHarness:
    return ProfileHarness(load(artifact_path).artifact)


def outputs() -> list[np.ndarray]:
    return [np.zeros((handmade.SIZE, handmade.SIZE), np.float32) for _ in range(2)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_code_with_clocks_computes_the_same(harness: ProfileHarness, threads: int) -> None:
    x, found = handmade.sample(), outputs()
    measured = harness.measure([x], found, threads=threads, runs=4)
    assert measured.calls.shape == (4, 3)
    assert (measured.calls >= 0).all()
    assert (measured.calls.sum(axis=1) <= measured.runs).all()
    expected = handmade.expected(handmade.two_layers(seed=1), x)
    np.testing.assert_allclose(found[0], expected["y"], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found[1], expected["Y copy"])


@pytest.mark.parametrize("threads", [1, 2])
def test_spans_cover_every_work_item_once(harness: ProfileHarness, threads: int) -> None:
    x, found = handmade.sample(), outputs()
    spans = harness.trace([x], found, threads=threads)
    np.testing.assert_array_equal(found[1], x)
    done: dict[tuple[int, int], int] = {}
    for span in spans:
        assert 0 <= span.begin_ns <= span.end_ns
        assert span.thread < threads
        done[span.call, span.phase] = done.get((span.call, span.phase), 0) + span.items
    # Two calls of one phase, one of two; handmade kernels have SIZE work items.
    assert done == dict.fromkeys([(0, 0), (1, 0), (2, 0), (2, 1)], handmade.SIZE)
    assert spans[0].begin_ns == 0


def test_profile_leaves_the_artifact_as_it_was(artifact_path: Path, tmp_path: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in artifact_path.rglob("*") if p.is_file()}

    before = contents()
    found = profile(artifact_path, runs=2, threads=2, trace=tmp_path / "trace.json")
    assert contents() == before
    assert [call.kernel for call in found.calls] == ["dense", "dense", "center"]
    assert found.calls[0].rates.macs == handmade.SIZE**3
    assert found.peaks.threads == 2
    assert found.settings["inputs"] == "drawn"
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["args"]["call"] for event in events if event["ph"] == "X"} == {0, 1, 2}


def test_no_runs(artifact_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        profile(artifact_path, runs=0)
    assert str(caught.value) == (
        "runs=0 is not possible\n  why: nothing is timed\n  fix: give 1 or more"
    )


def test_a_damaged_static_library(tmp_path: Path) -> None:
    artifact = handmade.build(tmp_path / "kws")
    with artifact.static_library_path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match=r"libkws\.a is damaged"):
        ProfileHarness(artifact)


def test_no_memory(harness: ProfileHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness._library, "profile_open", lambda *_: 4)
    with pytest.raises(LimitError) as caught:
        harness.measure([handmade.sample()], outputs(), threads=1, runs=1)
    assert str(caught.value).endswith(
        "no session could be made\n  why: memory or threads could not be had\n"
        "  fix: free some memory, or use fewer threads"
    )


def test_code_that_cannot_be_loaded(artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(_artifact: object, folder: Path) -> Path:
        path = folder / "profile.so"
        path.write_bytes(b"no ELF")
        return path

    monkeypatch.setattr(profile_harness, "_build", no_library)
    with pytest.raises(ToolchainError) as caught:
        ProfileHarness(load(artifact_path).artifact)
    assert caught.value.what == "the code with clocks cannot be loaded"
    assert "profile.so" in caught.value.why
    assert caught.value.fix == "set TMPDIR to a folder that programs may be run from"
