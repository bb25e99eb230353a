"""The part of a run that searches algorithms and layouts, on made-up times."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from compiler.code_generation import Lowering, choices_of, lower_graph
from compiler.families import family_build
from compiler.onnx_import.model import Model
from compiler.target_spec import TargetSpec
from compiler.tuner.choice_phase import choice_phase
from compiler.tuner.events import ChoiceTried, Event
from compiler.tuner.graph_tasks import graph_tasks
from compiler.tuner.run import Bench
from compiler.tuner.trial import TuningTask
from compiler.tuning.folder import read_lines
from compiler.tuning.record import ChoiceRecord, ScheduleRecord
from compiler.tuning.store import read_records
from tests.choice_models import choice_model
from tests.lowered import fixed_spec, loaded
from tests.tuner_fakes import FakeBench, key_of, no_data

Made = tuple[Model, Lowering, TargetSpec, frozenset[str]]


@pytest.fixture(scope="module")
def made() -> Made:
    """Operators of every kind of decision, and the workloads that they make by default."""
    model = loaded(choice_model())
    spec = fixed_spec().with_cores(1)
    lowering, spec = family_build(spec).lowering(model, spec, exact=False, precision="float32")
    graph = lower_graph(lowering, model, spec, None, lambda _: None)
    default = frozenset(task.workload for task in graph_tasks(graph))
    return model, lowering, spec, default


def phase(made: Made, folder: Path, bench: FakeBench, **options: Any) -> list[Event]:
    model, lowering, spec, _ = made
    events: list[Event] = []
    given = {"seconds": None, "trials": None, "stop": threading.Event(), **options}
    with bench:
        choice_phase(
            model,
            lowering,
            spec,
            key_of(),
            folder,
            Bench(builder=bench, runner=bench, data_of=no_data),
            tell=events.append,
            report=lambda _: None,
            **given,
        )
    return events


def times(made: Made, default: float | str, others: float | str) -> Any:
    """A cost of the kernels that are made by default, and one of all others."""

    def cost(task: TuningTask, _trace: list[Any]) -> float | str:
        return default if task.workload in made[3] else others

    return cost


def records(folder: Path, kind: type) -> list[Any]:
    return [line.record for line in read_lines(folder) if isinstance(line.record, kind)]


@pytest.mark.slow
def test_a_faster_choice_is_found_and_kept(made: Made, tmp_path: Path) -> None:
    tried = phase(made, tmp_path, FakeBench(times(made, 100.0, 1.0)))
    assert all(isinstance(event, ChoiceTried) for event in tried)
    assert any(event.is_gain for event in tried if isinstance(event, ChoiceTried))
    assert len(records(tmp_path, ChoiceRecord)) == len(tried)
    schedules = records(tmp_path, ScheduleRecord)
    assert len(schedules) == len({one.candidate for one in schedules}) > len(made[3])
    assert choices_of(read_records(tmp_path, key_of()))
    again = phase(made, tmp_path, FakeBench(times(made, 100.0, 1.0)))
    assert not {
        event.signature + event.choice for event in again if isinstance(event, ChoiceTried)
    } & {event.signature + event.choice for event in tried if isinstance(event, ChoiceTried)}


def test_the_default_stays_where_it_is_best(made: Made, tmp_path: Path) -> None:
    tried = phase(made, tmp_path, FakeBench(times(made, 10.0, 100.0)), trials=80)
    assert tried
    assert not any(event.is_gain for event in tried if isinstance(event, ChoiceTried))
    assert choices_of(read_records(tmp_path, key_of())) == {}


@pytest.mark.slow
def test_kernels_that_are_wrong_make_no_choice(made: Made, tmp_path: Path) -> None:
    tried = phase(made, tmp_path, FakeBench(times(made, 100.0, "wrong-numbers")))
    assert {event.outcome for event in tried if isinstance(event, ChoiceTried)} == {"not-built"}
    assert choices_of(read_records(tmp_path, key_of())) == {}
    outcomes = {one.outcome for one in records(tmp_path, ScheduleRecord)}
    assert outcomes == {"passed", "wrong-numbers"}


def test_it_ends_with_its_share_of_trials_and_when_told(made: Made, tmp_path: Path) -> None:
    slow = times(made, 10.0, 100.0)
    assert len(phase(made, tmp_path / "few", FakeBench(slow), trials=4)) == 1
    stop = threading.Event()
    stop.set()
    assert len(phase(made, tmp_path / "stop", FakeBench(slow), stop=stop)) == 1
    assert phase(made, tmp_path / "late", FakeBench(slow), seconds=1e-9) == []
