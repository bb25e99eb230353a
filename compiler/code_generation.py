"""From a `Model` to the code of its kernels and the program that calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from compiler.device_compiler import DeviceImage
from compiler.errors import LoweringError
from compiler.joined_storage import joins_fit, without_join_copies
from compiler.onnx_import.model import Model, Weights
from compiler.program import ChoiceOutcome, CompiledKernel, IoMemory, KernelMemory, Program
from compiler.target_spec import Precision, TargetSpec
from compiler.tuning.decision import Decision
from compiler.tuning.record import Choice
from compiler.tuning.store import Records


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedCode:
    """What is known before memory is planned and anything is written."""

    program: Program
    kernels: dict[str, CompiledKernel]  # by name
    stages: tuple[str, ...]
    relax_plan_bytes: int  # what Relax's own memory planner would allocate
    device_image: DeviceImage | None = None  # of a GPU

    @property
    def records_used(self) -> tuple[str, ...]:
        """The records that schedules and choices came from, sorted."""
        outcomes = (kernel.schedule for kernel in self.kernels.values())
        schedules = {outcome.name for outcome in outcomes if outcome.source == "record"}
        choices = {one.record for one in self.program.choices if not one.passed_over}
        return tuple(sorted(schedules | choices))


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimatedCode:
    """What can be known without a target's compiler; memory and calls are those of the build."""

    code: GeneratedCode
    code_error: float | None  # of all `code_bytes` together, as a share; None: they are not known
    instruction_count: int | None = None  # of a run
    instruction_error: float = 0.0


def estimate_code(*arguments: Any, **options: Any) -> EstimatedCode:
    """As `generate_code`: LLVM comes with TVM, so its code need not be guessed."""
    return EstimatedCode(code=generate_code(*arguments, **options), code_error=0.0)


def generate_code(
    model: Model,
    spec: TargetSpec,
    records: Records,
    *,
    exact: bool,
    precision: Precision,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
    io_memory: IoMemory = "caller",
) -> GeneratedCode:
    """Lower the graph, schedule its kernels and generate their code.

    Args:
        exact: no algorithm that trades accuracy for speed (Winograd).
        precision: of products; `precision.require_precision` says which a CPU has.
        io_memory: the caller's, the only one of CPUs (`io_memory.require_io_memory`).

    Raises:
        UnsupportedError: something in the graph cannot be lowered; it is named.
    """
    del io_memory
    lowering, spec = cpu_lowering(model, spec, exact=exact, precision=precision)
    return generate_by(lowering, model, spec, records, jobs, dump_stages, report)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lowering:
    """What a family of targets does with a graph and with each of its scheduled kernels."""

    target: Any  # TVM's
    # Of `stages.graph_stages`, with `joins_apart`, `choices` and `packed`.
    stages: Callable[..., tuple[Any, ...]]
    build: Callable[..., CompiledKernel]  # func, name, input_count, outcome
    rules: Any = None  # of `schedules.rules`; the family's if None
    io_memory: IoMemory = "caller"


class ModelTraits(Protocol):
    """What a lowering looks at of a model, before it is given the graph."""

    @property
    def name(self) -> str: ...

    @property
    def weights(self) -> Weights: ...


def cpu_lowering(
    model: ModelTraits, spec: TargetSpec, *, exact: bool, precision: Precision
) -> tuple[Lowering, TargetSpec]:
    """Return how graphs and kernels of a CPU become code, and the spec to do it by."""
    # TVM takes more than a second to import: bad input should be refused before that.
    from compiler.kernels.build import build_kernel
    from compiler.stages.graph_stages import graph_stages
    from compiler.tvm_target import tvm_target

    target = tvm_target(spec)
    build = partial(build_kernel, target=target, scalable=spec.vector.scalable)
    stages = partial(graph_stages, spec, exact=exact, weights=model.weights, precision=precision)
    return Lowering(target=target, stages=stages, build=build), spec


@dataclass(frozen=True, kw_only=True, slots=True)
class LoweredGraph:
    """A graph whose kernels are known and have no schedules yet."""

    module: Any  # TVM's
    workloads: Any  # scheduling.Workloads
    stages: tuple[str, ...]
    decisions: tuple[Decision, ...]  # what stages chose, and what else they might have


def lower_graph(
    lowering: Lowering,
    model: Model,
    spec: TargetSpec,
    dump_stages: Path | None,
    report: Callable[[str], None],
    choices: Mapping[str, Choice] | None = None,
) -> LoweredGraph:
    """Run the stages and merge equal kernels.

    Args:
        choices: for operators, by signature (`stages.decisions`); others have the default.
    """
    from compiler.onnx_import.to_relax import to_relax

    report("import")
    stages = partial(lowering.stages, choices=choices or {})
    return _lowered(lowering, stages, to_relax(model), model, spec, dump_stages, report)


class GraphVariants:
    """One model's graph, lowered with one set of choices after another.

    What no choice changes is done once: import, the stages before the first one that has a choice,
    and each form in which weights are packed.
    """

    def __init__(self, lowering: Lowering, model: Model, spec: TargetSpec) -> None:
        from compiler.onnx_import.to_relax import to_relax
        from compiler.stages.constants import PackedConstants
        from compiler.stages.stage import run_stages

        self._lowering, self._model, self._spec = lowering, model, spec
        self._packed = PackedConstants()
        stages = lowering.stages()
        self._shared = next((i for i, one in enumerate(stages) if one.decides), len(stages))
        self._graph = run_stages(
            to_relax(model), stages[: self._shared], target=lowering.target, report=_silent
        )

    def lower(self, choices: Mapping[str, Choice]) -> LoweredGraph:
        """Return the graph as `lower_graph` does with these choices."""

        def stages(*, joins_apart: bool) -> tuple[Any, ...]:
            made = self._lowering.stages(
                joins_apart=joins_apart, choices=choices, packed=self._packed
            )
            return made[self._shared :]

        return _lowered(self._lowering, stages, self._graph, self._model, self._spec, None, _silent)


def _silent(_: str) -> None:
    """Report nothing."""


def _lowered(
    lowering: Lowering,
    stages_of: Callable[..., tuple[Any, ...]],
    graph: Any,
    model: Model,
    spec: TargetSpec,
    dump_stages: Path | None,
    report: Callable[[str], None],
) -> LoweredGraph:
    from compiler.relax_program import extract_program
    from compiler.scheduling import distinct_workloads
    from compiler.stages.decisions import decisions
    from compiler.stages.stage import run_stages

    for joins_apart in (True, False):
        stages = stages_of(joins_apart=joins_apart)
        mod = run_stages(
            graph, stages, target=lowering.target, report=report, dump_folder=dump_stages
        )
        program = replace(extract_program(mod, model), io_memory=lowering.io_memory)
        workloads = distinct_workloads(mod, program)
        nothing = dict.fromkeys(workloads.functions, KernelMemory())
        if joins_fit(workloads.program, nothing, may_grow=_may_grow(spec)):
            break  # else their copies stay, and cost less inside other kernels
    names = tuple(stage.name for stage in stages)
    return LoweredGraph(module=mod, workloads=workloads, stages=names, decisions=decisions(mod))


def _may_grow(spec: TargetSpec) -> bool:
    return spec.is_hosted and spec.limits.ram_bytes is None  # else memory is scarce


def generate_by(
    lowering: Lowering,
    model: Model,
    spec: TargetSpec,
    records: Records,
    jobs: int,
    dump_stages: Path | None,
    report: Callable[[str], None],
) -> GeneratedCode:
    """Run the stages, schedule the kernels and build their code, as `lowering` says."""
    from compiler.scheduling import layout_changes, relax_plan_bytes

    graph = lower_graph(lowering, model, spec, dump_stages, report, choices_of(records))
    workloads = graph.workloads

    def build(name: str) -> CompiledKernel:
        func, count = workloads.functions[name], workloads.input_counts[name]
        built = build_scheduled(lowering, name, func, count, spec, records)
        return replace(built, layout_changes=layout_changes(func))

    report("kernels")
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        kernels = list(pool.map(build, workloads.functions))
    program = without_join_copies(
        workloads.program,
        {kernel.name: kernel.memory for kernel in kernels},
        may_grow=_may_grow(spec),
    )
    used = {call.kernel for call in program.calls}
    return GeneratedCode(
        program=replace(program, choices=choice_outcomes(graph.decisions, records)),
        kernels={kernel.name: kernel for kernel in kernels if kernel.name in used},
        stages=graph.stages,
        relax_plan_bytes=relax_plan_bytes(graph.module, lowering.target),
    )


def choices_of(records: Records) -> dict[str, Choice]:
    """Return what records choose, by signature: the `choices` of `lower_graph`."""
    return {signature: record.choice for signature, record in records.choices.items()}


def choice_outcomes(decisions: Sequence[Decision], records: Records) -> tuple[ChoiceOutcome, ...]:
    """Return what became of the records that are of operators of the graph, by signature."""
    met = {one.signature: one for one in decisions if one.signature in records.choices}
    return tuple(
        ChoiceOutcome(
            signature=signature,
            choice=records.choices[signature].choice,
            record=records.choices[signature].id,
            passed_over=one.passed_over,
        )
        for signature, one in sorted(met.items())
    )


def build_scheduled(
    lowering: Lowering, name: str, func: Any, input_count: int, spec: TargetSpec, records: Records
) -> CompiledKernel:
    """Schedule one kernel and build it with the first schedule that can be lowered.

    Raises:
        UnsupportedError: the fallback's schedule cannot be lowered either.
    """
    from compiler.scheduling import schedule_kernel

    not_lowered: dict[str, str] = {}
    while True:
        kernel = schedule_kernel(
            name, func, input_count, spec, records, lowering.rules, not_lowered
        )
        outcome = kernel.outcome
        try:
            return lowering.build(kernel.func, name=name, input_count=input_count, outcome=outcome)
        except LoweringError as failure:
            if outcome.source == "fallback":
                raise
            not_lowered[outcome.name] = f"not lowered: {failure.why}"
