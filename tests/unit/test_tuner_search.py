"""What a search proposes: not twice, by the model, and what it thinks is left to find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.tuner.cost_model import CostModel, Sample
from compiler.tuner.search import Proposal, TaskSearch, speed_up
from compiler.tuner.space import Point
from compiler.tuner.task_state import fresh_state
from compiler.tuner.tasks import TaskList
from compiler.tuning.record import ScheduleRecord, trace_id
from tests.onnx_models import attention_model
from tests.tuner_fakes import best_at, drawn, found_tasks, key_of
from tests.tuning_records import record


@pytest.fixture(scope="module")
def found() -> TaskList:
    return found_tasks(kernels="conv2d_add_add*")


def fresh(found: TaskList) -> TaskSearch:
    return fresh_state(found.tasks[0], found, seed=0).search


def cost(proposal: Proposal, wanted: float = 3.0) -> float:
    value = best_at(wanted)(proposal.candidate.task, proposal.candidate.trace)
    assert isinstance(value, float)
    return value


def point(proposal: Proposal) -> Point:
    assert proposal.point is not None
    return proposal.point


def tell(search: TaskSearch, model: CostModel, proposal: Proposal) -> None:
    """As the loop does with a trial that passed."""
    search.finish(proposal, cost(proposal))
    assert search.default is not None
    assert proposal.row is not None
    speed = speed_up(search.default.value, cost(proposal))
    model.add(Sample(row=proposal.row, speed=speed))


def test_everything_is_proposed_once(found: TaskList, tmp_path: Path) -> None:
    search, model = fresh(found), CostModel(tmp_path)
    names = [search.default_proposal().trace_id]
    while batch := search.propose(model):
        names += [one.trace_id for one in batch]
    assert len(names) == len(set(names)) == search.space.size == 16
    assert search.is_exhausted
    assert search.untried_share == 0.0


def test_the_model_leads_to_the_best(found: TaskList, tmp_path: Path) -> None:
    search, model = fresh(found), CostModel(tmp_path)
    default = search.default_proposal()
    tell(search, model, default)
    while not model.is_useful:
        for one in search.propose(model):
            tell(search, model, one)
        model.train()
    batch = search.propose(model, 4)
    rest = search.propose(model, 99)
    chosen = [cost(one) for one in batch if one.origin == "model"]
    left = [cost(one) for one in rest]
    assert chosen
    assert sum(chosen) / len(chosen) < sum(left) / len(left)


def test_a_large_space_is_bred(tmp_path: Path) -> None:
    found = found_tasks(attention_model(), kernels="attention*")
    search, model = fresh(found), CostModel(tmp_path)
    assert search.space.size > 4
    tell(search, model, search.default_proposal())
    names: set[str] = set()
    for _ in range(6):
        batch = search.propose(model)
        assert not names & {one.trace_id for one in batch}
        names |= {one.trace_id for one in batch}
        for one in batch:
            tell(search, model, one)
        model.train()


def test_known_failures_are_not_proposed(found: TaskList, tmp_path: Path) -> None:
    other = fresh(found)
    other.default_proposal()
    batch = other.propose(CostModel(tmp_path), 8)
    known = [
        record(
            key=key_of(), workload=other.task.workload, trace=one.candidate.trace, outcome="crashed"
        )
        for one in batch
    ]
    search = fresh(found)
    search.default_proposal()
    assert search.know(known, "us") == 0
    again = search.propose(CostModel(tmp_path), 99)
    assert not {one.trace_id for one in again} & {one.trace_id for one in batch}
    assert len(again) == 16 - 1 - len(batch)


def test_a_failure_outweighs_a_success(found: TaskList) -> None:
    search = fresh(found)
    trace = search.default_proposal().candidate.trace
    facts: dict[str, Any] = {"key": key_of(), "workload": search.task.workload, "trace": trace}
    both = [record(5.0, **facts), record(outcome="wrong-numbers", **facts)]
    for order in (both, both[::-1]):
        again = fresh(found)
        again.default_proposal()
        again.know(order, "us")
        assert again.default is None
        assert trace_id(trace) in again.failed


def test_traces_of_other_searches_count_as_tried(found: TaskList) -> None:
    """An imported one, for example: it has no point, but may be the best."""
    search = fresh(found)
    search.default_proposal()
    other = record(1.0, key=key_of(), workload=search.task.workload)
    search.know([other], "us")
    assert search.best is not None
    assert search.best.trace == other.trace
    assert search.best.point is None


def test_prospects(found: TaskList, tmp_path: Path) -> None:
    """With a model that is good, what is left of a space that was searched well is little."""
    search, model = fresh(found), CostModel(tmp_path)
    tell(search, model, search.default_proposal())
    assert search.prospect(model) == 1.0  # nothing is known yet
    rest = search.propose(model, 99)
    rest.sort(key=cost)
    assert drawn(rest[0].candidate.trace)[0] == 3.0
    for one in rest[1:]:  # all but the best
        search.visited.discard(point(one))
    for one in rest[4:]:
        tell(search, model, one)
        model.train()
        search.visited.add(point(one))
    search.visited.discard(point(rest[0]))
    before = search.prospect(model)
    for one in rest[:4]:
        tell(search, model, one)
        search.visited.add(point(one))
    search.visited.discard(point(rest[-1]))
    model.train()
    assert before > 0.5
    assert search.prospect(model) < 0.2


def test_seeds_are_mapped_to_the_nearest_choice(found: TaskList) -> None:
    from compiler.tuner.transfer import seed, sources

    search = fresh(found)
    search.default_proposal()
    steps, _ = search.default_proposal().candidate.trace
    index = next(number for number, (name, *_) in enumerate(steps) if name == "SampleCategorical")
    wide = [[*one] for one in steps]
    wide[index] = [*steps[index]]
    wide[index][2] = [[1, 2, 3, 5, 40, 80], steps[index][2][1]]  # another kernel's choices
    elsewhere = key_of()
    facts: dict[str, Any] = {
        "key": elsewhere,
        "rule": search.default_rule,
        "kernel": "conv2d_add_add_float32_1x64",
    }
    far = record(5.0, workload="1" * 16, trace=[wide, [[index, 4]]], **facts)  # 40
    near = record(5.0, workload="2" * 16, trace=[wide, [[index, 3]]], **facts)  # 5
    other_rule = record(5.0, workload="3" * 16, trace=[wide, [[index, 1]]], **{**facts, "rule": ""})
    given = sources([far, near, other_rule], elsewhere, frozenset())
    seed(search, given, siblings=[])
    chosen = {drawn(realized.trace)[0] for realized, _ in search.seeds}
    assert chosen == {5.0, 16.0}  # 16 is the most that there is here
    first = search.propose(CostModel(Path("nowhere")), 2)
    assert [one.origin for one in first] == ["seed", "seed"]
    assert all(one.seed.startswith("conv2d_add_add_float32_1x64 on") for one in first)
    other = replace(elsewhere, name="cousin", fingerprint="c" * 64, machine="d" * 64)
    same = replace(far, workload=search.task.workload, target=other, kernel="of another name")
    again = fresh(found)
    again.default_proposal()
    seed(again, sources([near, same], elsewhere, frozenset()), siblings=[])
    assert again.seeds[0][1] == "the same kernel on cousin"


def test_promising_is_what_beat_the_default_where_it_was_measured_in_turns() -> None:
    from compiler.tuner.transfer import sources

    def in_turns(time: float, workload: str, reference: float | None) -> ScheduleRecord:
        made = record(time, workload=workload, trace=[[], [[0, time]]], key=key_of())
        return replace(made, measurement=replace(made.measurement, reference=reference))

    default_is_best = [in_turns(5.0, "1" * 16, 5.0), in_turns(5.2, "1" * 16, None)]
    beaten = [in_turns(5.0, "2" * 16, 5.0), in_turns(4.0, "2" * 16, 5.0)]
    alone = [in_turns(3.0, "3" * 16, None), in_turns(9.0, "3" * 16, None)]
    given = sources([*default_is_best, *beaten, *alone], key_of(), frozenset())
    assert {one.record.id for one in given} == {
        one.id for one in (*default_is_best, *beaten, *alone)
    }
    assert [one.record for one in given if one.is_promising] == [beaten[1], alone[0]]
