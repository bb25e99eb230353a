"""Which kernels of a model have tuning records, and what share of its work they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compiler.code_generation import choice_outcomes, choices_of, lower_graph
from compiler.families import family_build
from compiler.onnx_import.model import Model
from compiler.onnx_import.support import require_supported
from compiler.program import ChoiceOutcome, ScheduleOutcome
from compiler.target_spec import TargetSpec
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.store import Records, read_records
from compiler.tuning.target_key import TargetKey, target_key


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCoverage:
    """One distinct kernel: how often it is called, and where its schedule comes from."""

    kernel: str
    workload: str
    calls: int
    macs: int  # of all its calls
    outcome: ScheduleOutcome
    record: ScheduleRecord | None  # the best one; used only if it can be replayed

    @property
    def is_covered(self) -> bool:
        return self.outcome.source == "record"


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """All kernels of a model, most work first."""

    key: TargetKey
    kernels: tuple[KernelCoverage, ...]
    choices: tuple[ChoiceOutcome, ...]  # of operators by records; the kernels are theirs
    passed_over: tuple[str, ...]
    stale: tuple[TargetKey, ...]

    @property
    def macs_share(self) -> float:
        """Share of the multiply-accumulates; of the calls, if the model has none."""
        total = sum(one.macs for one in self.kernels)
        if total == 0:
            calls = sum(one.calls for one in self.kernels)
            return sum(one.calls for one in self.kernels if one.is_covered) / max(1, calls)
        return sum(one.macs for one in self.kernels if one.is_covered) / total


def record_coverage(
    model: Model,
    spec: TargetSpec,
    folder: Path,
    *,
    threads: int | None = None,
    exact: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Coverage:
    """Lower the model as `compile` does and look up the record of each kernel, and replay it.

    Args:
        threads, exact: as of `compile`.

    Raises:
        CompilerError: the model cannot be lowered, or there is no such folder.
    """
    key = target_key(spec, threads)
    records = read_records(folder, key)
    require_supported(model)
    kernels, choices = _lowered(model, spec.with_cores(key.threads), records, exact, report)
    return Coverage(
        key=key,
        kernels=tuple(sorted(kernels, key=lambda one: (-one.macs, -one.calls, one.kernel))),
        choices=choices,
        passed_over=records.passed_over,
        stale=records.stale,
    )


def _lowered(
    model: Model,
    spec: TargetSpec,
    records: Records,
    exact: bool,
    report: Callable[[str], None],
) -> tuple[list[KernelCoverage], tuple[ChoiceOutcome, ...]]:
    lowering, spec = family_build(spec).lowering(model, spec, exact=exact, precision="float32")
    graph = lower_graph(lowering, model, spec, None, report, choices_of(records))
    workloads = graph.workloads
    # Behind the family: TVM takes more than a second to import.
    from compiler.scheduling import schedule_kernel, workload_hash

    report("records")
    found = []
    for name, func in workloads.functions.items():
        calls = [call for call in workloads.program.calls if call.kernel == name]
        count = workloads.input_counts[name]
        workload = workload_hash(func)
        scheduled = schedule_kernel(name, func, count, spec, records, lowering.rules)
        found.append(
            KernelCoverage(
                kernel=name,
                workload=workload,
                calls=len(calls),
                macs=sum(call.macs for call in calls),
                outcome=scheduled.outcome,
                record=records.schedules.get(workload),
            )
        )
    return found, choice_outcomes(graph.decisions, records)
