"""The kernels of a model that may be made faster, as the pipeline itself lowers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from compiler.code_generation import lower_graph
from compiler.errors import CompilerError
from compiler.families import family_build
from compiler.onnx_import.model import Model
from compiler.onnx_import.support import require_supported
from compiler.program import KernelCall, Program
from compiler.target_spec import Precision, TargetSpec
from compiler.tuner.graph_tasks import graph_tasks
from compiler.tuner.trial import TuningTask
from compiler.tuning.record import Choice


class TuningError(CompilerError):
    """There is nothing to tune, or nothing to tune it with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFacts:
    """What a cost model may know of a task without looking into its kernel."""

    output_shape: tuple[int, ...]
    dtype: str
    read_bytes: int  # of a call
    written_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskList:
    """The tasks of a model, most work first, and by what their kernels are scheduled."""

    tasks: tuple[TuningTask, ...]
    facts: Mapping[str, TaskFacts]  # by workload
    spec: TargetSpec
    rules: Any  # as `Lowering.rules`
    target: Any  # TVM's


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultSchedule:
    """What a build without records would do with a kernel."""

    schedule: Any  # TVM's
    rule: str  # or what the fallback did
    is_fallback: bool


def tuning_tasks(
    model: Model,
    spec: TargetSpec,
    *,
    exact: bool = False,
    precision: Precision = "float32",
    kernels: str = "*",
    choices: Mapping[str, Choice] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> TaskList:
    """Lower the model as `compile` does and return its distinct kernels.

    Args:
        spec: with the number of cores that a session will have.
        kernels: only those with such names (shell wildcards).
        choices: as of `lower_graph`.

    Raises:
        TuningError: no kernel has such a name.
        CompilerError: the model cannot be lowered.
    """
    require_supported(model)
    lowering, spec = family_build(spec).lowering(model, spec, exact=exact, precision=precision)
    graph = lower_graph(lowering, model, spec, None, report, choices)
    workloads = graph.workloads
    tasks = [task for task in graph_tasks(graph) if fnmatchcase(task.kernel, kernels)]
    if not tasks:
        raise TuningError(
            f"no kernel of {model.name} is called `{kernels}`",
            why=f"its kernels are: {', '.join(workloads.functions)}",
            fix="give a name of these; * stands for any letters",
        )
    facts = {task.workload: _facts(task.kernel, workloads.program) for task in tasks}
    tasks.sort(key=lambda task: (-task.macs * task.calls, task.kernel))
    return TaskList(
        tasks=tuple(tasks), facts=facts, spec=spec, rules=lowering.rules, target=lowering.target
    )


def default_schedule(
    task: TuningTask, found: TaskList, not_lowered: Mapping[str, str] | None = None
) -> DefaultSchedule:
    """Return the schedule of the first rule that takes the kernel, else that of the fallback.

    Args:
        not_lowered: rules whose schedule could not be built, and why: passed over.

    Raises:
        UnsupportedError: not even the fallback takes it.
    """
    from compiler.scheduling import schedule_kernel

    scheduled = schedule_kernel(
        task.kernel,
        task.func,
        task.input_count,
        found.spec,
        given_rules=found.rules,
        not_lowered=not_lowered,
    )
    return DefaultSchedule(
        schedule=scheduled.schedule,
        rule=scheduled.outcome.name,
        is_fallback=scheduled.outcome.source == "fallback",
    )


def _facts(name: str, program: Program) -> TaskFacts:
    call: KernelCall = next(call for call in program.calls if call.kernel == name)
    output = program.values[call.outputs[0]]
    return TaskFacts(
        output_shape=output.shape,
        dtype=output.dtype,
        read_bytes=sum(program.values[value].size_bytes for value in call.inputs),
        written_bytes=sum(program.values[value].size_bytes for value in call.outputs),
    )
