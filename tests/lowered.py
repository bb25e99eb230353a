"""Models taken part of the way: to kernels not yet scheduled, and single kernels scheduled."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import onnx
from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.onnx_import.to_relax import to_relax
from compiler.relax_program import extract_program
from compiler.scheduling import Workloads, distinct_workloads
from compiler.stages.graph_stages import gpu_graph_stages, graph_stages, mcu_graph_stages
from compiler.stages.stage import Stage, run_stages
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.tvm_target import tvm_target
from schedules.rules import rules_for


@cache
def fixed_spec() -> TargetSpec:
    """A target that does not depend on this machine: 8 lanes of float32, 16 vector registers."""
    return load_target("x86-64-v3")


def loaded(model: onnx.ModelProto) -> Model:
    """The model as the compiler reads it from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return load_model(path, shapes={}, values={})


def staged(
    model: Model,
    spec: TargetSpec | None = None,
    *,
    until: str | None = None,
    precision: Precision = "float32",
) -> IRModule:
    """The module after all graph stages, or after those before the stage named `until`."""
    spec = spec or fixed_spec()
    by_family: dict[str, Callable[[TargetSpec], tuple[Stage, ...]]] = {
        "cpu": partial(graph_stages, precision=precision),
        "mcu": mcu_graph_stages,
        "gpu": partial(gpu_graph_stages, precision=precision),
    }
    stages = by_family[spec.family](spec)
    names = [stage.name for stage in stages]
    count = len(stages) if until is None else names.index(until)
    return run_stages(
        to_relax(model), stages[:count], target=tvm_target(spec), report=lambda _: None
    )


def workloads(
    model: onnx.ModelProto, spec: TargetSpec | None = None, precision: Precision = "float32"
) -> Workloads:
    """The distinct kernels of a model, not yet scheduled."""
    read = loaded(model)
    mod = staged(read, spec, precision=precision)
    return distinct_workloads(mod, extract_program(mod, read))


def only_kernel(
    model: onnx.ModelProto, spec: TargetSpec | None = None, precision: Precision = "float32"
) -> PrimFunc:
    """The kernel of a model that becomes one kernel."""
    functions = workloads(model, spec, precision).functions
    assert len(functions) == 1, list(functions)
    return next(iter(functions.values()))


def apply_rule(name: str, func: PrimFunc, spec: TargetSpec | None = None) -> Schedule | None:
    """What the rule of that name makes of a kernel."""
    spec = spec or fixed_spec()
    rules, _ = rules_for(spec)
    rule = next(rule for rule in rules if rule.name == name)
    return rule.apply(func, spec)


def apply_fallback(func: PrimFunc, spec: TargetSpec | None = None) -> tuple[Schedule, str]:
    """The fallback's schedule and the name of its loop nest."""
    spec = spec or fixed_spec()
    _, fallback = rules_for(spec)
    return fallback(func, spec)
