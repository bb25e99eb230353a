"""The kernels of a model on a target, to pick one from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from compiler.code_generation import Lowering, lower_graph
from compiler.errors import InputError, TargetError
from compiler.families import family_build
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model, Weights
from compiler.onnx_import.support import require_supported
from compiler.program import ELEMENT_BYTES
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.tuner.graph_tasks import graph_tasks
from compiler.tuner.trial import TuningTask
from compiler.tuning.target_key import TargetKey, target_key

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    """How kernels of one target become code."""

    key: TargetKey
    spec: TargetSpec
    lowering: Lowering
    precision: Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class _NoModel:
    """Stands for the model of a kernel that has none: C's symbols start with its name."""

    name: str = "kernel"
    weights: Weights = "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One distinct kernel, not scheduled, and how its target schedules and builds it."""

    task: TuningTask
    key: TargetKey  # of the records that a build would use
    spec: TargetSpec  # by which it is scheduled: its cores are the threads that share a call
    lowering: Lowering
    precision: Precision  # of products
    operator: str  # "Conv+Add+Relu"; "" if no model is known
    schedule: str  # that `compile` gives it without records: "rule: conv2d"

    @property
    def name(self) -> str:
        return self.task.kernel

    @property
    def size_bytes(self) -> int:
        """Bytes of inputs, weights and outputs, each once: what a call has to touch at least."""
        return sum(_parameter_bytes(parameter) for parameter in self.task.func.params)


class KernelList(Sequence[Kernel]):
    """The distinct kernels of a model, most work first. Printed or in a notebook, a table."""

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        self._kernels = tuple(kernels)

    def __len__(self) -> int:
        return len(self._kernels)

    @overload
    def __getitem__(self, index: int) -> Kernel: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Kernel]: ...

    def __getitem__(self, index: int | slice) -> Kernel | Sequence[Kernel]:
        return self._kernels[index]

    def pick(self, pattern: str) -> Kernel:
        """Return the kernel with most work whose name matches, as a shell matches file names.

        Raises:
            InputError: there is none.
        """
        for kernel in self._kernels:
            if fnmatchcase(kernel.name, pattern):
                return kernel
        raise InputError(
            f"no kernel matches `{pattern}`",
            why=f"the model has {', '.join(kernel.name for kernel in self._kernels)}",
            fix="name one of these, or a pattern such as `conv2d*`",
        )

    def table(self) -> pd.DataFrame:
        """Return one row for each kernel: calls of a run, and work and bytes of one call."""
        import pandas as pd

        rows = [
            {
                "kernel": kernel.name,
                "operator": kernel.operator,
                "calls": kernel.task.calls,
                "macs": kernel.task.macs,
                "bytes": kernel.size_bytes,
                "schedule": kernel.schedule,
            }
            for kernel in self._kernels
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return self.table().to_string(index=False)

    def _repr_html_(self) -> str:
        html: str = self.table().to_html(index=False)
        return html


def list_kernels(
    model: str | Path | Model,
    *,
    target: str | Path | TargetSpec = "host",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, float | int | bool] | None = None,
    threads: int = 1,
    exact: bool = False,
    precision: Precision = "float32",
) -> KernelList:
    """Lower a model as `compile` does and return its distinct kernels, most work first.

    Args:
        target, shapes, values, exact, precision: as of `compile`.
        threads: how many share a call; schedules depend on it.

    Raises:
        CompilerError: the model cannot be lowered, or the target is a GPU.
    """
    if not isinstance(model, Model):
        model = load_model(Path(model), shapes=shapes or {}, values=values or {})
    require_supported(model)
    way = _way(model, target, threads, exact=exact, precision=precision)
    graph = lower_graph(way.lowering, model, way.spec, None, lambda _: None)
    operators = {call.kernel: call.operator for call in graph.workloads.program.calls}
    found = [_kernel(task, way, operators[task.kernel]) for task in graph_tasks(graph)]
    return KernelList(sorted(found, key=lambda one: (-one.task.macs * one.task.calls, one.name)))


def single_kernel(
    func: Any,
    *,
    target: str | Path | TargetSpec,
    threads: int,
    output_count: int = 1,
    macs: int = 0,
) -> Kernel:
    """Return a kernel that no model is known of.

    Args:
        func: TVM's PrimFunc; its last `output_count` parameters are outputs.
        macs: of one call.

    Raises:
        InputError: it is no PrimFunc.
        TargetError: the target is a GPU.
    """
    if not hasattr(func, "params") or not hasattr(func, "script"):
        raise InputError(
            "there is no kernel to compare schedules of",
            why=f"a {type(func).__name__} was given",
            fix="give one of compiler.list_kernels(MODEL), or a PrimFunc of TVM's",
        )
    from compiler.scheduling import workload_hash

    way = _way(_NoModel(), target, threads, exact=False, precision="float32")
    input_count = len(func.params) - output_count
    task = TuningTask(
        kernel="kernel",
        workload=workload_hash(func),
        func=func,
        input_count=input_count,
        calls=1,
        macs=macs,
        constants=(None,) * input_count,
    )
    return _kernel(task, way, operator="")


def _way(
    model: Any,
    target: str | Path | TargetSpec,
    threads: int,
    *,
    exact: bool,
    precision: Precision,
) -> _Way:
    spec = target if isinstance(target, TargetSpec) else load_target(target)
    if spec.family == "gpu":
        raise TargetError(
            f"kernels of {spec.name} cannot be measured one by one",
            why="it is a GPU, and what measures single kernels runs on processors",
            fix="choose another target, or time whole models with `tunesmith bench`",
        )
    key = target_key(spec, threads)
    lowering, spec = family_build(spec).code_lowering(
        model, spec.with_cores(threads), exact=exact, precision=precision
    )
    return _Way(key=key, spec=spec, lowering=lowering, precision=precision)


def _kernel(task: TuningTask, way: _Way, operator: str) -> Kernel:
    """The kernel with the rule that takes it."""
    from compiler.scheduling import schedule_kernel  # TVM takes a second to import

    rules = way.lowering.rules
    outcome = schedule_kernel(
        task.kernel, task.func, task.input_count, way.spec, given_rules=rules
    ).outcome
    return Kernel(
        task=task,
        key=way.key,
        spec=way.spec,
        lowering=way.lowering,
        precision=way.precision,
        operator=operator,
        schedule=f"{outcome.source}: {outcome.name}",
    )


def _parameter_bytes(parameter: Any) -> int:
    count = 1
    for extent in parameter.ty.shape:
        count *= int(extent)
    return count * ELEMENT_BYTES[str(parameter.ty.dtype)]
