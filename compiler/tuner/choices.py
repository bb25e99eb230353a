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
    the default one; infinite if it cannot be built or gives wrong numbers.
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
    report: Report = lambda _: None


def search_choices(search: ChoiceSearch) -> Iterator[ChoiceRecord]:
    """Yield a record for each choice tried: slower ones, too, so that no search tries them again.

    Operators with the largest share of the graph's time come first. Of each, one choice after
    another is tried with all else as it is best known; the one that saves most is kept for what is
    tried after it, if it saves more than noise (`is_gain`).

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


class _Search:
    """The state of one search: variants lowered, workloads timed, choices kept so far."""

    def __init__(self, search: ChoiceSearch) -> None:
        self._search = search
        self._variants: dict[str, _Variant] = {}  # by `choice_id` of all choices
        self._times: dict[str, float] = {}
        self._untimed: dict[str, TuningTask] = {}
        self._best = best_choices(search.known)
        self._chosen: dict[str, Choice] = {name: one.choice for name, one in self._best.items()}
        self._tried = {one.candidate for one in search.known}
        self._node_of = {
            value: node.name for node in search.model.proto.graph.node for value in node.output
        }

    def records(self) -> Iterator[ChoiceRecord]:
        first = self._lowered(self._chosen)
        open_ones = [one for one in first.decisions.values() if len(one.options) > 1]
        shares = {one.signature: self._share(first, one) for one in open_ones}
        for one in sorted(open_ones, key=lambda one: (-shares[one.signature], one.signature)):
            if shares[one.signature] >= LEAST_SHARE:
                yield from self._of_signature(one, shares[one.signature])

    def _of_signature(self, decision: Decision, share: float) -> Iterator[ChoiceRecord]:
        """Try the options of one signature, and keep the best."""
        signature, known = decision.signature, self._best.get(decision.signature)
        others = {name: one for name, one in self._chosen.items() if name != signature}
        saved = 0.0 if known is None else known.saved
        for option in decision.options[1:]:
            if (signature, choice_id(option)) in self._tried:
                continue
            if time.monotonic() > self._search.deadline_s:
                return
            self._search.report(f"{signature} ({share:.1%}): {choice_text(option)}")
            record = self._tried_record(decision, option, others)
            if record is None:
                continue
            yield record
            if is_gain(record) and record.saved > saved:
                saved = record.saved
                self._chosen[signature] = option

    def _tried_record(
        self, decision: Decision, option: Choice, others: Mapping[str, Choice]
    ) -> ChoiceRecord | None:
        """The record of one option beside the default; None if it makes no difference here."""
        search, signature = self._search, decision.signature
        base = self._lowered(others)
        variant = self._lowered({**others, signature: option})
        gone, new = base.counts - variant.counts, variant.counts - base.counts
        is_taken = variant.decisions[signature].taken == option
        default_time = self._time(gone)
        if not is_taken or not gone or not new or math.isinf(default_time):
            return None
        chosen_time = self._time(new)
        is_built = not math.isinf(chosen_time)
        return ChoiceRecord(
            target=search.key,
            signature=signature,
            choice=option,
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

    def _time(self, calls: Mapping[str, int], failed: float = math.inf) -> float:
        """Summed time of calls; each of a workload that fails counts as `failed`."""
        times = {one: self._time_of(one) for one in calls}
        return sum(
            count * (failed if math.isinf(times[one]) else times[one])
            for one, count in calls.items()
        )

    def _time_of(self, workload: str) -> float:
        if workload not in self._times:
            self._times[workload] = self._search.time_of(self._untimed.pop(workload))
        return self._times[workload]

    def _lowered(self, choices: Mapping[str, Choice]) -> _Variant:
        key = choice_id(dict(choices))
        if key not in self._variants:
            self._variants[key] = self._variant(self._search.variants.lower(choices))
        return self._variants[key]

    def _variant(self, graph: LoweredGraph) -> _Variant:
        tasks = {task.kernel: task for task in graph_tasks(graph)}
        for task in tasks.values():
            if task.workload not in self._times:
                self._untimed.setdefault(task.workload, task)
        calls = graph.workloads.program.calls
        return _Variant(
            tuple((tasks[one.kernel].workload, frozenset(one.onnx_nodes)) for one in calls),
            {one.signature: one for one in graph.decisions},
        )
