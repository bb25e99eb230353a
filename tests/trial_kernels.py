"""Kernels of a model for another machine, with operands and what they should make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from compiler.code_generation import lower_graph
from compiler.families import family_build
from compiler.onnx_import.load import load_model
from compiler.program import CompiledKernel, Program, Value
from compiler.target_spec import load_target
from compiler.tuner.trial import KernelData
from compiler.tuning.store import NO_RECORDS


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialKernel:
    """One kernel as a build makes it; `data` is that of its first call."""

    kernel: CompiledKernel
    data: KernelData
    calls: int  # of one run of the model


def trial_kernels(path: Path, target: str) -> list[TrialKernel]:
    """All kernels of a model, in the order of their first calls."""
    model, spec = load_model(path), load_target(target)
    build = family_build(spec)
    code = build.generate_code(
        model,
        spec,
        NO_RECORDS,
        exact=True,
        precision="float32",
        jobs=1,
        dump_stages=None,
        report=_silent,
    )
    lowering, lowered_for = build.lowering(model, spec, exact=True, precision="float32")
    graph = lower_graph(lowering, model, lowered_for, None, _silent)
    program: Program = code.program
    calls = [call.kernel for call in program.calls]
    found: dict[str, TrialKernel] = {}
    for call in program.calls:
        if call.kernel in found:
            continue
        values = [program.values[number] for number in call.inputs]
        rng = np.random.default_rng(0)
        inputs = [_constant(program, value) for value in values]
        drawn = [_drawn(v, rng) if a is None else a for v, a in zip(values, inputs, strict=True)]
        outputs = [program.values[number] for number in call.outputs]
        found[call.kernel] = TrialKernel(
            kernel=code.kernels[call.kernel],
            data=kernel_data(
                f"{path.stem} {call.kernel}", graph.workloads.functions[call.kernel], drawn, outputs
            ),
            calls=calls.count(call.kernel),
        )
    return list(found.values())


def kernel_data(key: str, func: Any, inputs: list[np.ndarray], outputs: list[Value]) -> KernelData:
    """What the function without a schedule makes of the inputs, on this machine."""
    bare = func.without_attr("target").with_attr("global_symbol", "kernel")
    built = tvm.compile(tvm.IRModule({"kernel": bare}), target="llvm")
    made = [np.empty(value.shape, value.dtype) for value in outputs]
    tensors = [tvm.runtime.tensor(array) for array in (*inputs, *made)]
    built["kernel"](*tensors)
    expected = tuple(tensor.numpy() for tensor in tensors[len(inputs) :])
    return KernelData(key=key, inputs=tuple(inputs), expected=expected)


def _constant(program: Program, value: Value) -> np.ndarray | None:
    stored = program.constants.get(value.storage)
    if stored is None:
        return None
    begin = value.offset_bytes
    content = stored.reshape(-1).view(np.uint8)[begin : begin + value.size_bytes]
    return content.view(value.dtype).reshape(value.shape)


def _drawn(value: Value, rng: np.random.Generator) -> np.ndarray:
    if value.dtype.startswith("float"):
        return rng.standard_normal(value.shape).astype(value.dtype)
    limits = np.iinfo(value.dtype)
    most, least = min(limits.max, 1_000), max(limits.min, -1_000)
    return rng.integers(least, most, value.shape, value.dtype, endpoint=True)


_silent: Callable[[str], None] = lambda _: None  # noqa: E731
