"""The distinct kernels of a lowered graph as tasks of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compiler.code_generation import LoweredGraph
from compiler.program import Program, ValueKind
from compiler.tuner.trial import TuningTask


def graph_tasks(graph: LoweredGraph) -> tuple[TuningTask, ...]:
    """Return a task for each workload of the graph, in the order of their first calls."""
    workloads = graph.workloads
    stored = sum(array.nbytes for array in workloads.program.constants.values())
    functions: Mapping[str, Any] = workloads.functions
    return tuple(
        _task(name, func, workloads.input_counts[name], workloads.program, stored)
        for name, func in functions.items()
    )


def _task(name: str, func: Any, input_count: int, program: Program, stored: int) -> TuningTask:
    from compiler.scheduling import workload_hash

    calls = [call for call in program.calls if call.kernel == name]
    constants = tuple(constant_of(program, value) for value in calls[0].inputs)
    own = sum(array.nbytes for array in constants if array is not None)
    return TuningTask(
        kernel=name,
        workload=workload_hash(func),
        func=func,
        input_count=input_count,
        calls=len(calls),
        macs=calls[0].macs,
        constants=constants,
        other_constant_bytes=max(0, stored - own),
    )


def constant_of(program: Program, value: int) -> np.ndarray | None:
    """Return the elements of a value if they are known when it is compiled, else None."""
    one = program.values[value]
    if one.kind is not ValueKind.CONSTANT:
        return None
    stored = program.constants[one.storage]
    raw = stored.reshape(-1).view(np.uint8)[one.offset_bytes : one.offset_bytes + one.size_bytes]
    return raw.view(stored.dtype).reshape(one.shape)
