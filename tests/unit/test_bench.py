"""Engines in turn, and what the figures say."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from compiler.array_files import write_arrays
from compiler.errors import InputError, LimitError, ToolchainError
from compiler.measure.bench import ROUNDS, WARM_UP_RUNS, bench, time_engines
from compiler.measure.bench_result import BenchResult, EngineTiming, ModelTiming
from compiler.measure.engine_process import EngineProcess, EngineRequest, engine_error
from tests.onnx_models import dense_model, save

Turn = tuple[str, int, int]


class FakeEngine:
    """Takes a millisecond a run and writes down its turns."""

    version = "1.2"

    def __init__(self, request: EngineRequest, turns: list[Turn]) -> None:
        if request.engine == "broken":
            raise engine_error("broken", "no such operator")
        self.settings = {"threads": str(request.threads)}
        self._name = request.engine
        self._turns = turns

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._turns.append((self._name, -1, -1))

    def run(self, runs: int, *, warm_up: int) -> Sequence[float]:
        self._turns.append((self._name, runs, warm_up))
        return [0.001] * runs


def request(engine: str, folder: Path = Path()) -> EngineRequest:
    return EngineRequest(
        engine=engine,
        path=folder / "model.onnx",
        inputs=folder / "in.npz",
        threads=1,
        cpus=(),
    )


def fake_times(names: Sequence[str], runs: int) -> tuple[tuple[EngineTiming, ...], list[Turn]]:
    turns: list[Turn] = []

    def start(asked: EngineRequest) -> EngineProcess:
        return FakeEngine(asked, turns)  # type: ignore[return-value]  # the same methods

    return time_engines([request(name) for name in names], runs, start=start), turns


def test_engines_take_turns() -> None:
    timings, turns = fake_times(["tunesmith", "onnxruntime"], 12)
    assert [len(timing.seconds) for timing in timings] == [12, 12]
    # 12 runs in five rounds: 3 3 2 2 2.
    counts = [3, 3, 2, 2, 2]
    assert len(counts) == ROUNDS
    measured = [
        (name, count, WARM_UP_RUNS) for count in counts for name in ("tunesmith", "onnxruntime")
    ]
    closed = [("onnxruntime", -1, -1), ("tunesmith", -1, -1)]
    assert turns == measured + closed


def test_fewer_runs_than_rounds() -> None:
    timings, _ = fake_times(["tunesmith"], 2)
    assert len(timings[0].seconds) == 2


def test_a_peer_that_cannot_run_the_model_is_noted() -> None:
    timings, _ = fake_times(["tunesmith", "broken", "onnxruntime"], 5)
    assert [timing.error for timing in timings] == ["", "no such operator", ""]
    assert timings[1].seconds == ()
    assert len(timings[2].seconds) == 5
    assert ModelTiming(model="m", timings=timings).ratio("broken") is None


def test_our_own_failure_is_an_error() -> None:
    with pytest.raises(ToolchainError, match="broken could not run the model") as caught:
        fake_times(["broken", "onnxruntime"], 5)
    assert caught.value.why == "no such operator"


def timing(engine: str, *seconds: float, error: str = "") -> EngineTiming:
    return EngineTiming(engine=engine, version="1", settings={}, seconds=seconds, error=error)


def result() -> BenchResult:
    first = ModelTiming(
        model="first",
        timings=(timing("tunesmith", 2.0, 1.0, 4.0), timing("a", 4.0, 6.0, 8.0), timing("b", 2.0)),
    )
    second = ModelTiming(
        model="second",
        timings=(timing("tunesmith", 1.0), timing("a", 1.0), timing("b", error="no such op")),
    )
    return BenchResult(models=(first, second), peers=("a", "b"), settings={"threads": 1})


def test_ratios_are_of_minima_and_of_medians() -> None:
    first, second = result().models
    assert (first.ratio("a"), first.median_ratio("a")) == (4.0, 3.0)
    assert first.best_peer is not None
    assert (first.best_peer.engine, first.ratio_to_best) == ("b", 2.0)
    assert (second.ratio("b"), second.ratio_to_best) == (None, 1.0)
    assert first.ratio("tunesmith") == 1.0


def test_our_own_untuned_library_is_no_best_peer() -> None:
    timings = (timing("tunesmith", 1.0), timing("untuned", 1.5), timing("a", 2.0))
    model = ModelTiming(model="m", timings=timings)
    assert model.best_peer is not None
    assert (model.best_peer.engine, model.ratio_to_best) == ("a", 2.0)
    assert model.ratio("untuned") == 1.5


def test_geometric_means_over_the_models_that_ran() -> None:
    table = result()
    assert table.geometric_mean("a") == pytest.approx(2.0)  # of 4 and 1
    assert table.geometric_mean("b") == pytest.approx(2.0)  # of 2
    assert table.geometric_mean_to_best == pytest.approx(2**0.5)  # of 2 and 1


def test_json_and_table_of_a_result() -> None:
    document = json.loads(json.dumps(result().as_json()))
    assert document["settings"] == {"threads": 1}
    assert document["models"][1]["engines"][2]["error"] == "no such op"
    assert document["models"][0]["best_peer"] == "b"
    frame = result().to_frame()
    assert list(frame.engine) == ["tunesmith", "a", "b"] * 2
    assert frame.minimum_us[0] == 1e6


def test_onnxruntime_in_a_process_of_its_own(tmp_path: Path) -> None:
    save(dense_model(), tmp_path / "model.onnx")
    write_arrays(tmp_path / "in.npz", {"x": np.ones((4, 8), np.float32)})
    with EngineProcess(request("onnxruntime", tmp_path)) as engine:
        assert engine.version.count(".") == 2
        assert engine.settings["intra_op_num_threads"] == "1"
        seconds = engine.run(4, warm_up=1)
        assert len(seconds) == 4
        assert all(0 < taken < 10 for taken in seconds)
        assert len(engine.run(2, warm_up=0)) == 2


def test_an_engine_that_cannot_load_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    write_arrays(tmp_path / "in.npz", {"x": np.ones(1, np.float32)})
    with pytest.raises(ToolchainError, match="onnxruntime could not run the model") as caught:
        EngineProcess(request("onnxruntime", tmp_path))
    assert "model.onnx" in caught.value.why


def test_an_unknown_peer_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown engine 'onnxruntine'") as caught:
        bench([], against=["onnxruntine"])
    assert caught.value.fix == "use 'onnxruntime'"


def test_a_peer_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ToolchainError, match="openvino is not installed") as caught:
        bench([], against=["openvino"])
    assert "tunesmith[bench]" in caught.value.fix


def test_untuned_beside_what_is_not_tuned() -> None:
    with pytest.raises(InputError, match="nothing is tuned") as caught:
        bench([], against=["untuned"])
    assert "--records" in caught.value.fix


def test_more_threads_than_processors() -> None:
    with pytest.raises(LimitError, match="4096 threads on"):
        bench([], threads=4096)
