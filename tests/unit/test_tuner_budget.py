"""Where the next trials of a run go, and when there are none."""

from __future__ import annotations

from compiler.tuner.budget import HALF_LIFE, Progress
from compiler.tuner.budget import next_task as next_of


def progress(*values: float, calls: int = 1, known: int = 0, failed: int = 0) -> Progress:
    made = Progress(calls=calls, known=known, failed=failed)
    for value in values:
        made.add(value)
    return made


def next_task(tasks: list[Progress], untried: list[float], stop_gain: float) -> int | None:
    gains = [one.expected_gain(share) for one, share in zip(tasks, untried, strict=True)]
    return next_of(gains, sum(one.time for one in tasks), stop_gain)


def test_progress_keeps_the_best() -> None:
    one = progress(100.0, 120.0, 90.0, 95.0, calls=3)
    assert one.best == [100.0, 100.0, 90.0, 90.0]
    assert (one.time, one.default_time) == (270.0, 300.0)
    assert one.barren == 1


def test_trials_go_where_most_time_is_spent() -> None:
    tasks = [progress(10.0), progress(100.0), progress(30.0, calls=5)]
    assert next_task(tasks, [1.0, 1.0, 1.0], 0.005) == 2


def test_barren_tasks_give_way() -> None:
    busy = progress(100.0, *[100.0] * (3 * HALF_LIFE))
    fresh = progress(40.0)
    assert next_task([busy, fresh], [0.9, 1.0], 0.005) == 1


def test_a_task_that_improves_goes_on() -> None:
    improving = progress(100.0, 90.0, 80.0, 70.0)
    fresh = progress(70.0)
    assert next_task([improving, fresh], [0.9, 1.0], 0.005) == 0


def test_failed_trials_are_barren_too() -> None:
    failing = progress(100.0, failed=4 * HALF_LIFE)
    assert next_task([failing, progress(30.0)], [1.0, 1.0], 0.005) == 1


def test_exhausted_spaces_end() -> None:
    assert next_task([progress(100.0), progress(1.0)], [0.0, 1.0], 0.0001) == 1
    assert next_task([progress(100.0), progress(1.0)], [0.0, 0.0], 0.0) is None
    assert next_task([], [], 0.0) is None


def test_little_expected_gain_ends_the_run() -> None:
    tasks = [progress(100.0, *[100.0] * 60), progress(50.0, *[50.0] * 60)]
    assert next_task(tasks, [0.9, 0.9], 0.005) is None
    assert next_task(tasks, [0.9, 0.9], 0.0) is not None


def test_trials_of_earlier_runs_count() -> None:
    known = Progress(calls=1)
    known.start(100.0, 80.0, known=64)
    assert known.best == [100.0, 80.0]
    assert known.barren >= 64
    assert known.expected_gain(0.5) < 0.005 * known.time
    known.add(60.0)
    assert known.barren == 0


def test_what_the_model_thinks_little_of_waits() -> None:
    tasks = [progress(100.0), progress(60.0)]
    gains = [tasks[0].expected_gain(1.0, 0.3), tasks[1].expected_gain(1.0, 1.0)]
    assert next_of(gains, 160.0, 0.005) == 1
    assert next_of([tasks[0].expected_gain(1.0, 0.0)], 100.0, 0.005) is None
