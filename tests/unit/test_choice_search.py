"""The search over choices: what is tried, judged, kept and recorded."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from compiler.code_generation import LoweredGraph
from compiler.onnx_import.model import Model
from compiler.tuner.choices import ChoiceSearch, TimeOf, search_choices
from compiler.tuner.graph_tasks import constant_of, graph_tasks
from compiler.tuner.trial import TuningTask
from compiler.tuning.record import Choice, ChoiceRecord, choice_id
from compiler.tuning.store import best_choices
from tests import choice_models as models
from tests.choice_models import variants
from tests.lowered import loaded
from tests.tuning_records import KEY, rejection


class _Graphs:
    """Variants of one graph, each lowered once for all tests."""

    def __init__(self, model: Model) -> None:
        self._variants = variants(model)
        self._made: dict[str, LoweredGraph] = {}

    def lower(self, choices: Mapping[str, Choice]) -> LoweredGraph:
        key = choice_id(dict(choices))
        if key not in self._made:
            self._made[key] = self._variants.lower(choices)
        return self._made[key]


@cache
def graphs() -> tuple[Model, Any]:
    model = loaded(models.choice_model())
    return model, _Graphs(model)


def searched(time_of: TimeOf, **changes: Any) -> list[ChoiceRecord]:
    model, lowered_once = graphs()
    search = ChoiceSearch(
        model=model,
        variants=lowered_once,
        key=KEY,
        time_of=time_of,
        unit="us",
        runner="native",
        **changes,
    )
    return list(search_choices(search))


class Times:
    """Made-up times by words in a kernel's name; a workload is asked for twice at most."""

    def __init__(self, **by_word: float) -> None:
        self._by_word = by_word
        self.asked: Counter[str] = Counter()

    def __call__(self, task: TuningTask) -> float:
        self.asked[task.workload] += 1
        found = [one for word, one in self._by_word.items() if word in task.kernel]
        return found[0] if found else 10.0


def test_what_is_faster_is_found() -> None:
    """Winograd is slow here: the body's direct sums, whose neighbours stay, gain 90 of 100 us."""
    times = Times(winograd=100.0)
    records = searched(times)
    best = best_choices(records)
    record = best[models.BODY]
    assert record.choice == {"algorithm": "direct", "block": 8}
    assert record.instead_of["algorithm"] == "winograd"
    assert (record.default.values, record.measurement.values) == ((100.0,), (10.0,))
    assert (record.operators, record.model) == (1, graphs()[0].name)
    assert {one.signature for one in records} == set(models.SIGNATURES)


def test_operators_with_the_largest_share_come_first() -> None:
    signatures = [one.signature for one in searched(Times(attention=500.0, winograd=99.0))]
    assert list(dict.fromkeys(signatures))[:2] == [models.ATTENTION, models.BODY]


def test_first_options_come_before_later_ones_of_others() -> None:
    """An operator's second option counts as half of its share of the time.

    That is 35 of 130 us for the attention, and 20 for the depthwise kernel and the copy behind it.
    Other options than direct sums make no difference for the body, which nobody wants in blocks.
    """
    records = searched(Times(winograd=45.0, attention=35.0))
    attention = models.ATTENTION
    expected = [models.BODY, attention, models.DEPTHWISE, attention]
    assert [one.signature for one in records[:4]] == expected


def test_workloads_are_timed_once_unless_a_choice_gains() -> None:
    times = Times()
    searched(times)
    graph = graphs()[1].lower({})
    (attention,) = (t.workload for t in graph_tasks(graph) if "attention" in t.kernel)
    assert times.asked[attention] == 1
    prepared: list[str] = []
    again = Times(winograd=100.0)
    searched(again, prepare=lambda tasks: prepared.extend(t.workload for t in tasks))
    assert Counter(prepared) == again.asked
    assert max(again.asked.values()) > 1


def test_a_gain_that_is_not_seen_again_is_none() -> None:
    """The first time of the Winograd kernel was disturbed."""

    class Disturbed(Times):
        def __call__(self, task: TuningTask) -> float:
            usual = super().__call__(task)
            disturbed = "winograd" in task.kernel and self.asked[task.workload] == 1
            return 100.0 if disturbed else usual

    records = searched(Disturbed())
    assert models.BODY not in best_choices(records)


def test_operators_with_little_time_are_left_alone() -> None:
    records = searched(Times(attention=1e6))
    assert {one.signature for one in records} == {models.ATTENTION}


def test_later_choices_are_tried_with_what_was_kept() -> None:
    """Once the body is direct, kernels after it are judged beside that body."""
    records = searched(Times(winograd=100.0))
    after = [one for one in records if one.signature not in (models.BODY,)]
    assert after
    assert all(100.0 not in (*one.default.values, *one.measurement.values) for one in after)


def test_neighbours_count() -> None:
    """The plain copy behind the depthwise kernel is no operator's own, and slow here."""
    records = searched(Times(unblock=1000.0))
    best = max(records, key=lambda one: one.saved)
    assert best.saved > 900.0
    assert best.default.typical > 1000.0 > best.measurement.typical


def test_what_was_tried_is_not_tried_again() -> None:
    first = searched(Times(winograd=100.0))
    assert searched(Times(winograd=100.0), known=first) == []
    body = [one for one in first if one.signature == models.BODY]
    known = [one for one in first if one not in body] + [rejection(one) for one in body]
    assert searched(Times(winograd=100.0), known=known) == []


def test_a_known_choice_is_the_base_of_others() -> None:
    (best,) = (
        one
        for one in searched(Times(winograd=100.0))
        if one.candidate == (models.BODY, one.choice_id) and one.choice["algorithm"] == "direct"
    )
    again = searched(Times(winograd=100.0), known=[best])
    others = [one for one in again if one.signature != models.BODY]
    assert others
    assert all(100.0 not in one.default.values for one in others)


def test_a_kernel_that_cannot_be_built_is_recorded() -> None:
    records = searched(Times(batch_matmul=math.inf))
    (apart,) = (r for r in records if r.choice == {"algorithm": "apart"})
    assert (apart.outcome, apart.measurement.values) == ("not-built", ())
    assert not apart.is_usable


def test_nothing_is_begun_after_the_deadline() -> None:
    assert searched(Times(), deadline_s=time.monotonic()) == []


def test_noise_is_no_gain() -> None:
    records = searched(Times(winograd=10.05))
    assert any(one.saved > 0 for one in records if one.signature == models.BODY)
    assert models.BODY not in best_choices(records)


def test_tasks_of_a_graph() -> None:
    graph = graphs()[1].lower({})
    tasks = {task.kernel: task for task in graph_tasks(graph)}
    assert set(tasks) == set(graph.workloads.functions)
    stem = tasks["conv2d_float32_1x2x20x20x8"]
    assert (stem.calls, stem.macs, stem.input_count) == (1, 20 * 20 * 8 * 16, 2)
    data, weight = stem.constants
    assert data is None
    assert weight is not None
    assert weight.size == 8 * 16
    program = graph.workloads.program
    for value in program.values:
        known = constant_of(program, value.id)
        assert (known is None) == (value.storage not in program.constants)


def test_a_task_knows_what_the_model_reads_beside_its_own_constants() -> None:
    graph = graphs()[1].lower({})
    stored = sum(array.nbytes for array in graph.workloads.program.constants.values())
    found = graph_tasks(graph)
    for task in found:
        own = sum(array.nbytes for array in task.constants if array is not None)
        assert task.other_constant_bytes == stored - own
    assert any(task.other_constant_bytes < stored for task in found)
