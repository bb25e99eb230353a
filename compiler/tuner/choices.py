"""Search over the choices of a graph: algorithm, layout and packing of its operators.

A graph's time is the sum of its kernels', each workload timed once, however many variants of the
graph have it. A choice changes neighbours, too (their layout, what is fused with what), so it is
judged by all calls that differ.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.code_generation import GraphVariants, LoweredGraph
from compiler.onnx_import.model import Model
from compiler.tuner.graph_tasks import graph_tasks
from compiler.tuner.trial import TuningTask
from compiler.tuning.decision import Decision
from compiler.tuning.record import (
    Choice,
    ChoiceRecord,
    Measurement,
    Record,
    Unit,
    choice_id,
    choice_text,
)
from compiler.tuning.store import best_choices, is_gain
from compiler.tuning.target_key import TargetKey

# Operators with less of the graph's time than this cannot gain what is no noise.
LEAST_SHARE = 0.005

TimeOf = Callable[[TuningTask], float]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceSearch:
    """What a search is for, and how times are got.

    `time_of` gives the time of one call of a kernel: of its best known schedule, else measured with
    the default one; infinite if it cannot be built or gives wrong numbers. Constants must come from
    where they are in a run of the whole model: weights that a repeated call finds in cache make
    Winograd look faster than it is. Kernels of a choice that seems to gain are asked for a second
    time, and so are those of the default.
    """

    model: Model
    variants: GraphVariants
    key: TargetKey
    time_of: TimeOf
    unit: Unit
    runner: str  # as of `Measurement`
    conditions: str = ""
    deadline_s: float = math.inf  # of `time.monotonic`: no variant is begun after it
    known: Sequence[Record] = ()  # of the same key: what was tried is not tried again
    # Told which tasks will be timed next, one after another: they may be built side by side.
    prepare: Callable[[Sequence[TuningTask]], None] = lambda _: None
    report: Report = lambda _: None


def search_choices(search: ChoiceSearch) -> Iterator[ChoiceRecord]:
    """Yield a record for each choice tried: slower ones, too, so that no search tries them again.

    Operators with the largest share of the graph's time come first; their later options, which are
    worse by the estimates of the stages, wait for the first ones of others. Each is tried with all
    else as it is best known, and is kept for what is tried after it if it saves more than the other
    choices of its operator, and more than noise (`is_gain`).

    Raises:
        CompilerError: the model cannot be lowered.
    """
    yield from _Search(search).records()


@dataclass(frozen=True, slots=True)
class _Variant:
    """A lowered graph, as what it costs."""

    calls: tuple[tuple[str, frozenset[str]], ...]  # workload, and the ONNX nodes that it computes
    decisions: Mapping[str, Decision]

    @property
    def counts(self) -> Counter[str]:
        """Calls of each workload."""
        return Counter(workload for workload, _ in self.calls)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One option of one decision; those with the largest `weight` come first."""

    decision: Decision
    option: Choice
    share: float  # of the graph's time that the decision's operators take
    number: int  # of the option, from 1

    @property
    def weight(self) -> float:
        return self.share / self.number

    @property
    def text(self) -> str:
        return f"{self.decision.signature} ({self.share:.1%}): {choice_text(self.option)}"


class _Search:
    """The state of one search: variants lowered, workloads timed, choices kept so far."""

    def __init__(self, search: ChoiceSearch) -> None:
        self._search = search
        self._variants: dict[str, _Variant] = {}  # by `choice_id` of all choices
        self._times: dict[str, float] = {}
        self._tasks: dict[str, TuningTask] = {}
        best = best_choices(search.known)
        self._chosen: dict[str, Choice] = {name: one.choice for name, one in best.items()}
        self._saved = {name: one.saved for name, one in best.items()}
        self._node_of = {
            value: node.name for node in search.model.proto.graph.node for value in node.output
        }

    def records(self) -> Iterator[ChoiceRecord]:
        for trial in self._trials():
            if time.monotonic() > self._search.deadline_s:
                return
            self._search.report(trial.text)
            record = self._record(trial)
            if record is None:
                continue
            yield record
            signature = record.signature
            if is_gain(record) and record.saved > self._saved.get(signature, 0.0):
                self._saved[signature] = record.saved
                self._chosen[signature] = record.choice

    def _trials(self) -> list[_Trial]:
        """What is to be tried, in order."""
        first = self._lowered(self._chosen)
        tried = {one.candidate for one in self._search.known}
        trials = []
        for decision in first.decisions.values():
            new = [
                (number, option)
                for number, option in enumerate(decision.options[1:], start=1)
                if (decision.signature, choice_id(option)) not in tried
            ]
            share = self._share(first, decision) if new else 0.0
            trials += [_Trial(decision, option, share, number) for number, option in new]
        worth = (trial for trial in trials if trial.share >= LEAST_SHARE)
        return sorted(worth, key=lambda one: (-one.weight, one.text))

    def _record(self, trial: _Trial) -> ChoiceRecord | None:
        """The record of one option beside the default; None if it makes no difference here."""
        search, decision, signature = self._search, trial.decision, trial.decision.signature
        others = {name: one for name, one in self._chosen.items() if name != signature}
        base = self._lowered(others)
        variant = self._lowered({**others, signature: trial.option})
        gone, new = base.counts - variant.counts, variant.counts - base.counts
        is_taken = variant.decisions[signature].taken == trial.option
        if not is_taken or not gone or not new:
            return None
        default_time, chosen_time = self._time(gone), self._time(new)
        if chosen_time < default_time < math.inf:  # or one of them was disturbed
            default_time, chosen_time = self._time(gone, again=True), self._time(new, again=True)
        if math.isinf(default_time):
            return None
        is_built = not math.isinf(chosen_time)
        return ChoiceRecord(
            target=search.key,
            signature=signature,
            choice=trial.option,
            instead_of=decision.default,
            model=search.model.name,
            operators=decision.operators,
            outcome="passed" if is_built else "not-built",
            reason="" if is_built else "a kernel of the graph could not be built or was wrong",
            measurement=self._measurement(*([chosen_time] if is_built else [])),
            default=self._measurement(default_time),
        )

    def _measurement(self, *values: float) -> Measurement:
        search = self._search
        return Measurement(
            unit=search.unit, values=values, runner=search.runner, conditions=search.conditions
        )

    def _share(self, variant: _Variant, decision: Decision) -> float:
        """Share of the graph's time of the calls that compute operators of a signature."""
        nodes = {self._node_of[value] for value in decision.values if value in self._node_of}
        own = Counter(workload for workload, computed in variant.calls if computed & nodes)
        total = self._time(variant.counts, failed=0.0)
        return self._time(own, failed=0.0) / total if total else 0.0

    def _time(
        self, calls: Mapping[str, int], *, failed: float = math.inf, again: bool = False
    ) -> float:
        """Summed time of calls; each of a workload that fails counts as `failed`.

        Args:
            again: ask for known times once more; the lesser of the two counts.
        """
        asked = [one for one in calls if again or one not in self._times]
        self._search.prepare([self._tasks[one] for one in asked])
        for one in asked:
            found = self._search.time_of(self._tasks[one])
            self._times[one] = min(found, self._times.get(one, math.inf))
        times = {one: self._times[one] for one in calls}
        return sum(
            count * (failed if math.isinf(times[one]) else times[one])
            for one, count in calls.items()
        )

    def _lowered(self, choices: Mapping[str, Choice]) -> _Variant:
        key = choice_id(dict(choices))
        if key not in self._variants:
            self._variants[key] = self._variant(self._search.variants.lower(choices))
        return self._variants[key]

    def _variant(self, graph: LoweredGraph) -> _Variant:
        tasks = {task.kernel: task for task in graph_tasks(graph)}
        for task in tasks.values():
            self._tasks.setdefault(task.workload, task)
        calls = graph.workloads.program.calls
        return _Variant(
            tuple((tasks[one.kernel].workload, frozenset(one.onnx_nodes)) for one in calls),
            {one.signature: one for one in graph.decisions},
        )
