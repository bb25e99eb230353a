"""From a `Model` to the code of its kernels and the program that calls them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from compiler.device_compiler import DeviceImage
from compiler.errors import LoweringError
from compiler.joined_storage import joins_fit, without_join_copies
from compiler.onnx_import.model import Model, Weights
from compiler.program import CompiledKernel, IoMemory, KernelMemory, Program
from compiler.target_spec import Precision, TargetSpec
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
        """The records that schedules came from, sorted."""
        outcomes = (kernel.schedule for kernel in self.kernels.values())
        return tuple(sorted({outcome.name for outcome in outcomes if outcome.source == "record"}))


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
    stages: Callable[..., tuple[Any, ...]]  # of `stages.graph_stages`, with `joins_apart`
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


def lower_graph(
    lowering: Lowering,
    model: Model,
    spec: TargetSpec,
    dump_stages: Path | None,
    report: Callable[[str], None],
) -> LoweredGraph:
    """Run the stages and merge equal kernels."""
    from compiler.onnx_import.to_relax import to_relax
    from compiler.relax_program import extract_program
    from compiler.scheduling import distinct_workloads
    from compiler.stages.stage import run_stages

    report("import")
    target, graph = lowering.target, to_relax(model)
    for joins_apart in (True, False):
        stages = lowering.stages(joins_apart=joins_apart)
        mod = run_stages(graph, stages, target=target, report=report, dump_folder=dump_stages)
        program = replace(extract_program(mod, model), io_memory=lowering.io_memory)
        workloads = distinct_workloads(mod, program)
        nothing = dict.fromkeys(workloads.functions, KernelMemory())
        if joins_fit(workloads.program, nothing, may_grow=_may_grow(spec)):
            break  # else their copies stay, and cost less inside other kernels
    names = tuple(stage.name for stage in stages)
    return LoweredGraph(module=mod, workloads=workloads, stages=names)


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

    graph = lower_graph(lowering, model, spec, dump_stages, report)
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
        program=program,
        kernels={kernel.name: kernel for kernel in kernels if kernel.name in used},
        stages=graph.stages,
        relax_plan_bytes=relax_plan_bytes(graph.module, lowering.target),
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
