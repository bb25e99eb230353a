"""The loop of the tuner on made-up times: what it tries, keeps, and when it ends."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import onnx
import pytest

from compiler.errors import NotRunnableError
from compiler.tuner.cost_model import FILE
from compiler.tuner.events import Seeded, TrialEnded, as_json
from compiler.tuner.result import TuningResult
from compiler.tuner.run import Bench, TuneOptions, run
from compiler.tuner.run_state import FOLDER
from compiler.tuner.tasks import TaskList
from compiler.tuner.trial import KernelData, TuningTask
from compiler.tuning.folder import read_lines
from compiler.tuning.record import ScheduleRecord, Verdict
from compiler.tuning.store import read_records
from compiler.tuning.summary import summarize
from compiler.tuning.writer import RecordWriter
from tests.onnx_models import make_model, weights
from tests.tuner_fakes import FakeBench, best_at, drawn, found_tasks, key_of, no_data

CONV = "conv2d_add_relu_float32_1x1x8x8x8"  # 32 schedules: columns, rows of a work item
OTHER = "conv2d_add_add_float32_1x1x8x8x8"  # 16: columns
SCHEDULES = 48


@pytest.fixture(scope="module")
def found() -> TaskList:
    return found_tasks(kernels="conv2d*")


def tuned(
    found: TaskList,
    folder: Path,
    bench: FakeBench,
    *,
    depth: int = 4,
    stop: threading.Event | None = None,
    listener: Any = lambda _: None,
    **options: Any,
) -> TuningResult:
    with bench:
        made = Bench(builder=bench, runner=bench, data_of=no_data, depth=depth)
        return run(
            "m",
            found,
            key_of(),
            folder,
            made,
            TuneOptions(**{"stop_gain": 0.0, **options}),
            listener,
            stop,
        )


def records_of(folder: Path, kernel: str) -> list[ScheduleRecord]:
    lines = read_lines(folder)
    found = [line.record for line in lines if isinstance(line.record, ScheduleRecord)]
    return [record for record in found if record.kernel == kernel]


def used(folder: Path, kernel: str) -> ScheduleRecord | None:
    schedules = read_records(folder, key_of()).schedules.values()
    return next((record for record in schedules if record.kernel == kernel), None)


def test_small_spaces_are_searched_whole(found: TaskList, tmp_path: Path) -> None:
    bench = FakeBench(best_at(3.0))
    result = tuned(found, tmp_path, bench)
    assert result.finished.reason == "nothing is left to try"
    assert result.finished.trials == len(bench.tried) == len(set(bench.tried)) == SCHEDULES
    for kernel in (CONV, OTHER):
        record = used(tmp_path, kernel)
        assert record is not None
        assert drawn(record.trace)[0] == 3.0
        assert record.measurement.reference is not None
        assert record.rule == "conv2d"
    assert result.gain > 1.15
    assert len(result.kernels) == 2
    assert summarize(tmp_path).complaints == ()


def test_the_first_trial_of_every_task_is_the_default(found: TaskList, tmp_path: Path) -> None:
    result = tuned(found, tmp_path, FakeBench(best_at(3.0)), depth=1)
    firsts: dict[str, str] = {}
    for trial in result.trials:
        firsts.setdefault(trial.kernel, trial.origin)
    assert set(firsts.values()) == {"default"}
    assert len(firsts) == 2


def test_building_and_measuring_go_on_at_once(found: TaskList, tmp_path: Path) -> None:
    bench = FakeBench(best_at(3.0), seconds=0.01)
    tuned(found, tmp_path, bench, trials=12)
    assert bench.overlapped


def test_trials_are_what_passed(found: TaskList, tmp_path: Path) -> None:
    def cost(_task: TuningTask, trace: list[Any]) -> float | str:
        values = drawn(trace)
        return "crashed" if values and values[0] % 2 == 0 and values[0] < 8 else 100.0

    result = tuned(found, tmp_path, FakeBench(cost), trials=10)
    assert result.finished.trials == 10
    assert result.finished.reason == "all trials are used"
    passed = [trial for trial in result.trials if trial.outcome == "passed"]
    assert len(passed) == 10
    assert result.finished.failed == len(result.trials) - 10


@pytest.mark.parametrize("how", ["wrong-numbers", "crashed", "timed-out", "not-built"])
def test_a_bad_schedule_is_recorded_and_never_chosen(
    found: TaskList, tmp_path: Path, how: str
) -> None:
    """It would be by far the fastest."""

    def cost(task: TuningTask, trace: list[Any]) -> float | str:
        values = drawn(trace)
        return how if values and values[0] == 3.0 else best_at(3.0)(task, trace)

    bench = FakeBench(cost)
    tuned(found, tmp_path, bench)
    bad = [one for one in records_of(tmp_path, CONV) if drawn(one.trace)[0] == 3.0]
    assert {one.outcome for one in bad} == {how}
    assert bad[0].reason == "made up"
    record = used(tmp_path, CONV)
    assert record is not None
    assert drawn(record.trace)[0] in (2.0, 4.0)
    again = FakeBench(cost)
    tuned(found, tmp_path, again)
    assert again.tried == []  # neither what failed nor what passed is tried twice


def test_a_default_that_cannot_be_built_gives_way_to_the_next_rule(
    found: TaskList, tmp_path: Path
) -> None:
    """As in a build."""

    def cost(_task: TuningTask, trace: list[Any]) -> float | str:
        return "not-built" if drawn(trace) else 100.0

    result = tuned(found, tmp_path, FakeBench(cost), kernels=CONV)
    rules = {record.rule: record.outcome for record in records_of(tmp_path, CONV)}
    assert rules["conv2d"] == "not-built"
    assert "passed" in rules.values()
    ended = next(one for one in result.kernels if one.kernel == CONV)
    assert ended.is_default
    assert ended.default == 100.0


def test_a_lucky_reading_does_not_win(found: TaskList, tmp_path: Path) -> None:
    first = tuned(found, tmp_path / "a", FakeBench(best_at(3.0)))
    lucky = next(
        record.trace_id
        for record in records_of(tmp_path / "a", CONV)
        if drawn(record.trace)[0] == 5.0
    )
    result = tuned(found, tmp_path / "b", FakeBench(best_at(3.0), lucky={lucky: 0.5}))
    record = used(tmp_path / "b", CONV)
    assert record is not None
    assert record.trace_id != lucky
    assert drawn(record.trace)[0] == 3.0
    assert result.gain == pytest.approx(first.gain)


def test_the_default_stays_unless_something_is_a_percent_faster(
    found: TaskList, tmp_path: Path
) -> None:
    def cost(_task: TuningTask, trace: list[Any]) -> float:
        values = drawn(trace)
        return 100.0 if not values or values[0] == 8.0 else 99.5 if values[0] == 4.0 else 120.0

    result = tuned(found, tmp_path, FakeBench(cost))
    ended = next(one for one in result.kernels if one.kernel == CONV)
    assert ended.is_default
    assert ended.gain == 1.0
    record = used(tmp_path, CONV)
    assert record is not None
    assert drawn(record.trace)[0] == 8.0


def test_earlier_records_are_known(found: TaskList, tmp_path: Path) -> None:
    first = tuned(found, tmp_path, FakeBench(best_at(3.0)), trials=12)
    assert first.finished.trials == 12
    bench = FakeBench(best_at(3.0))
    second = tuned(found, tmp_path, bench)
    assert second.finished.trials == SCHEDULES - 12
    tried = {trial.trace_id for trial in first.trials}
    assert not tried & {trial.trace_id for trial in second.trials}
    assert tuned(found, tmp_path, FakeBench(best_at(3.0))).finished.trials == 0


def test_what_a_model_rejected_is_not_proposed_again(found: TaskList, tmp_path: Path) -> None:
    tuned(found, tmp_path, FakeBench(best_at(3.0)))
    best = used(tmp_path, CONV)
    assert best is not None
    verdict = Verdict(
        target=key_of(), workload=best.workload, trace_id=best.trace_id, reason="slower in m"
    )
    with RecordWriter(tmp_path, key_of()) as writer:
        writer.append(verdict)
    result = tuned(found, tmp_path, FakeBench(best_at(3.0)))
    ended = next(one for one in result.kernels if one.kernel == CONV)
    assert ended.winner != best.trace_id
    instead = used(tmp_path, CONV)
    assert instead is not None
    assert instead.trace_id != best.trace_id


def test_stopping_saves_what_is_in_flight_and_resume_goes_on(
    found: TaskList, tmp_path: Path
) -> None:
    stop = threading.Event()

    def after_ten(event: Any) -> None:
        if isinstance(event, TrialEnded) and event.trials >= 10:
            stop.set()

    first = tuned(found, tmp_path, FakeBench(best_at(3.0)), stop=stop, listener=after_ten)
    assert first.finished.reason == "stopped"
    assert 10 <= first.finished.trials < 20
    kept = sum(len(records_of(tmp_path, task.kernel)) for task in found.tasks)
    assert kept == first.finished.trials
    second = tuned(found, tmp_path, FakeBench(best_at(3.0)), resume=True, trials=20)
    assert second.started.spent_trials == first.finished.trials
    assert second.started.spent_s > 0
    assert second.finished.trials == 20 - first.finished.trials
    assert not list(tmp_path.rglob(f"{FOLDER}/*.json"))  # it came to its end
    third = tuned(found, tmp_path, FakeBench(best_at(3.0)), resume=True, trials=20)
    assert third.started.spent_trials == 0


def test_without_resume_the_budget_begins_anew(found: TaskList, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    tuned(found, tmp_path, FakeBench(best_at(3.0)), trials=6)
    result = tuned(found, tmp_path, FakeBench(best_at(3.0)), trials=6)
    assert result.started.spent_trials == 0
    assert result.finished.trials == 6


def test_the_time_ends_a_run_with_time_for_its_finals(found: TaskList, tmp_path: Path) -> None:
    bench = FakeBench(best_at(3.0), seconds=0.05)
    result = tuned(found, tmp_path, bench, seconds=0.8)
    assert result.finished.reason == "the time is used"
    assert result.finished.trials < SCHEDULES
    assert result.finished.elapsed_s < 3.0


def test_little_expected_gain_ends_a_run(found: TaskList, tmp_path: Path) -> None:
    result = tuned(found, tmp_path, FakeBench(lambda *_: 100.0), stop_gain=0.04)
    assert "less than 4.0% is expected" in result.finished.reason
    assert result.finished.trials < SCHEDULES


def test_when_nothing_measures_any_more_what_was_measured_stays(
    found: TaskList, tmp_path: Path
) -> None:
    result = tuned(found, tmp_path, FakeBench(best_at(3.0), broken_after=9))
    assert result.finished.reason == "no board is left"
    assert result.finished.trials == 9
    kept = sum(len(records_of(tmp_path, task.kernel)) for task in found.tasks)
    assert kept == 9
    with pytest.raises(NotRunnableError):
        tuned(found, tmp_path / "none", FakeBench(best_at(3.0), broken_after=0))


def test_a_task_that_cannot_be_checked_is_left_alone(found: TaskList, tmp_path: Path) -> None:
    def data_of(task: TuningTask) -> KernelData:
        if task.kernel == CONV:
            raise ValueError("made up")
        return no_data(task)

    with FakeBench(best_at(3.0)) as bench:
        made = Bench(builder=bench, runner=bench, data_of=data_of)
        result = run("m", found, key_of(), tmp_path, made, TuneOptions(), lambda _: None)
    ended = next(one for one in result.kernels if one.kernel == CONV)
    assert (ended.reason, ended.default) == ("made up", None)
    assert used(tmp_path, CONV) is None
    assert used(tmp_path, OTHER) is not None


def test_a_bug_is_not_swallowed(found: TaskList, tmp_path: Path) -> None:
    def cost(*_: Any) -> float:
        raise ZeroDivisionError("made up")

    with pytest.raises(ZeroDivisionError):
        tuned(found, tmp_path, FakeBench(cost))


def test_several_boards_measure_at_once(found: TaskList, tmp_path: Path) -> None:
    bench = FakeBench(best_at(3.0), slots=3, seconds=0.01, name="rpc")
    result = tuned(found, tmp_path, bench, depth=6)
    assert result.finished.trials == SCHEDULES
    assert {record.measurement.runner for record in records_of(tmp_path, CONV)} == {"rpc"}


def test_instructions_are_not_mixed_with_times(found: TaskList, tmp_path: Path) -> None:
    tuned(found, tmp_path, FakeBench(best_at(3.0), unit="instructions", name="emulator"))
    result = tuned(found, tmp_path, FakeBench(best_at(5.0)), stop_gain=0.0)
    assert result.finished.trials == SCHEDULES  # all are tried again, by time
    record = used(tmp_path, CONV)
    assert record is not None
    assert record.measurement.unit == "us"
    assert drawn(record.trace)[0] == 5.0


def test_what_was_learnt_is_kept(found: TaskList, tmp_path: Path) -> None:
    result = tuned(found, tmp_path, FakeBench(best_at(3.0)))
    assert result.finished.rank_correlation is not None
    key = key_of()
    assert (tmp_path / key.name / key.fingerprint / FILE).is_file()


def test_events_are_lines_of_json(found: TaskList, tmp_path: Path) -> None:
    result = tuned(found, tmp_path, FakeBench(best_at(3.0)), trials=12)
    lines = [json.loads(json.dumps(as_json(event))) for event in result.events]
    kinds = [line["event"] for line in lines]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert {"task", "trial", "cost-model", "task-ended"} <= set(kinds)


@pytest.mark.slow
def test_the_same_seed_tries_the_same(found: TaskList, tmp_path: Path) -> None:
    def order(folder: str, seed: int) -> list[str]:
        bench = FakeBench(best_at(3.0))
        result = tuned(found, tmp_path / folder, bench, depth=1, seed=seed)
        return [trial.trace_id for trial in result.trials]

    assert order("a", 1) == order("b", 1)
    assert order("a2", 1) != order("c", 2)


def test_good_schedules_of_another_kernel_are_tried_first(tmp_path: Path) -> None:
    """Transfer within a target: the other kernel's records are there, this one's are not."""

    found = found_tasks(two_products_model(), kernels="matmul*")
    first, second = found.tasks

    def cost(_task: TuningTask, trace: list[Any]) -> float:
        return 100.0 + 10.0 * abs(log2(drawn(trace)[0] / 3.0))  # three rows in a tile

    before = tuned(replace(found, tasks=(first,)), tmp_path, FakeBench(cost), trials=60)
    best = min(trial.value for trial in before.trials if trial.value is not None)
    result = tuned(replace(found, tasks=(second,)), tmp_path, FakeBench(cost), depth=1, trials=9)
    seeds = next(one for one in result.events if isinstance(one, Seeded))
    assert seeds.kernel == second.kernel
    assert seeds.sources[0].startswith(f"{first.kernel} on x86-64-v3")
    after = result.trials[1]
    assert after.origin == "seed"
    assert after.value == pytest.approx(best)
    (ended,) = result.kernels
    assert ended.best_seed.startswith(first.kernel)
    assert ended.seed_gain is not None
    assert ended.gain is not None
    assert 1.0 < ended.seed_gain <= ended.gain


def two_products_model() -> onnx.ModelProto:
    """x -> product -> product -> y, of 12 rows each."""
    node = onnx.helper.make_node
    return make_model(
        [
            node("MatMul", ["x", "w0"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("MatMul", ["r", "w1"], ["y"]),
        ],
        inputs={"x": ("float32", [12, 24])},
        outputs={"y": ("float32", [12, 160])},
        constants={"w0": weights(24, 80, seed=0), "w1": weights(80, 160, seed=1)},
    )


def test_trials_before_the_tasks_count(found: TaskList, tmp_path: Path) -> None:
    """Those of choices: to the limit, and to what a trial took all in."""
    result = tuned(found, tmp_path, FakeBench(best_at(3.0)), trials=10, trials_before=4)
    finished = result.finished
    assert finished.trials == 10
    assert len(result.trials) == 6
    assert finished.seconds_per_trial == pytest.approx(finished.elapsed_s / 10)
