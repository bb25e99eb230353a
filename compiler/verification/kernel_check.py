"""Feed each kernel onnxruntime's own intermediate tensors and compare what it makes of them.

Errors cannot add up here, so a wrong kernel is told from a right one that was given wrong numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.onnx_import.model import Model
from compiler.program import is_winograd
from compiler.runners.runner import Kernels, KernelSymbol, Operand, Runner
from compiler.verification.artifact_report import (
    ArtifactReport,
    Held,
    ReportedCall,
    ReportedValue,
    read_report,
)
from compiler.verification.comparison import (
    KERNEL_EQUAL_SHARE,
    KERNEL_QUANTA,
    WINOGRAD_LIMIT,
    Comparison,
    Tolerance,
    Unit,
    compare,
    float_tolerance,
)
from compiler.verification.graph_walk import GraphWalk
from compiler.verification.guarded_block import GuardedBlock
from compiler.verification.reference import Reference, with_outputs


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCheck:
    """What one kernel call made of the reference's tensors."""

    index: int
    kernel: str
    operator: str
    onnx_nodes: tuple[str, ...]
    comparisons: tuple[Comparison, ...]  # of outputs that the ONNX graph knows
    fed_by: tuple[int, ...]  # calls whose own results it read: ONNX has no such value
    unknown_outputs: tuple[int, ...]  # value ids compared through a later kernel only
    problem: str = ""  # other than a difference: it wrote outside its output

    @property
    def passed(self) -> bool:
        return not self.problem and all(comparison.passed for comparison in self.comparisons)

    @property
    def why(self) -> str:
        """The first problem, empty if there is none."""
        problems = [self.problem] + [
            f"{c.name}: {c.problem}" for c in self.comparisons if c.problem
        ]
        return next((problem for problem in problems if problem), "")

    def as_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "kernel": self.kernel,
            "operator": self.operator,
            "onnx_nodes": list(self.onnx_nodes),
            "passed": self.passed,
            "problem": self.problem,
            "outputs": [comparison.as_json() for comparison in self.comparisons],
            "fed_by_kernels": list(self.fed_by),
            "outputs_unknown_to_onnx": list(self.unknown_outputs),
        }


def check_kernels(
    runner: Runner, model: Model, inputs: Mapping[str, np.ndarray]
) -> tuple[KernelCheck, ...]:
    """Return the check of every kernel call, in execution order."""
    report = read_report(runner.artifact)
    symbols = {symbol: _pointer_count(call) for call in report.calls for symbol, _ in call.phases}
    if not symbols:
        return ()
    names = report.onnx_names()
    known = _reference_tensors(model, inputs, set(names.values()))
    walk = GraphWalk(model.proto)
    has_weights = any(_constant(value) for value in report.values)
    prefix = runner.artifact.manifest.symbol_prefix
    weights = f"{prefix}__weights" if has_weights else None
    functions = [KernelSymbol(name=name, pointer_count=n) for name, n in symbols.items()]
    with runner.kernels(functions, weights) as kernels:
        caller = _Caller(kernels, report, names, known)
        return tuple(caller.check(call, walk) for call in report.calls)


def kernel_tolerance(walk: GraphWalk, name: str, dtype: str, inputs: frozenset[str]) -> Tolerance:
    """A kernel that quantizes may round a boundary value the other way; others compute floats.

    Args:
        name: the ONNX value that it computes. inputs: those that it is given.
    """
    quantum = walk.rounding_quantum(name, inputs)
    if quantum is None:
        return float_tolerance(dtype)
    return Tolerance(
        unit=Unit.QUANTA,
        limit=KERNEL_QUANTA,
        quantum=quantum if np.dtype(dtype).kind == "f" else 1.0,
        equal_share=KERNEL_EQUAL_SHARE,
    )


def _reference_tensors(
    model: Model, inputs: Mapping[str, np.ndarray], names: set[str]
) -> dict[str, np.ndarray]:
    computed = {name for node in model.proto.graph.node for name in node.output}
    wanted = sorted(names & computed)
    tensors = Reference(with_outputs(model.proto, wanted)).run(inputs)
    return {**inputs, **tensors}


class _Caller:
    """Calls kernels in order; keeps what only kernels can give to later kernels."""

    def __init__(
        self,
        kernels: Kernels,
        report: ArtifactReport,
        names: Mapping[Held, str],
        known: Mapping[str, np.ndarray],
    ) -> None:
        self._kernels = kernels
        self._values = report.values
        self._names = names
        self._known = known
        self._bytes: dict[int, np.ndarray] = {}  # what kernels were given and made, by storage
        self._makers: list[tuple[ReportedValue, int]] = []  # of values unknown to onnxruntime
        self._first: dict[Held, ReportedValue] = {}  # the one that a kernel makes; then its views
        for value in report.values:
            self._first.setdefault(value.held, value)

    def check(self, call: ReportedCall, walk: GraphWalk) -> KernelCheck:
        inputs = [self._values[value] for value in call.inputs]
        outputs = [self._values[value] for value in call.outputs]
        written = [GuardedBlock(value.size_bytes) for value in outputs]
        intact = self._run(call, inputs, written)
        given = frozenset(self._names.get(value.held, "") for value in inputs)
        comparisons, unknown = [], []
        for value, block in zip(outputs, written, strict=True):
            actual = block.read(value.dtype, value.shape)
            expected = self._reference(value)
            self._keep(value, actual if expected is None else expected)
            if expected is None:
                self._makers.append((value, call.index))
                unknown.append(value.id)
                continue
            name = self._names[value.held]
            tolerance = kernel_tolerance(walk, name, value.dtype, given)
            if is_winograd(call.kernel) and tolerance.unit is Unit.RELATIVE:
                tolerance = replace(tolerance, limit=WINOGRAD_LIMIT)
            comparisons.append(compare(name, expected, actual, tolerance))
        return KernelCheck(
            index=call.index,
            kernel=call.kernel,
            operator=call.operator,
            onnx_nodes=call.onnx_nodes,
            comparisons=tuple(comparisons),
            fed_by=tuple(
                maker
                for value in inputs
                for made, maker in self._makers
                if self._reference(value) is None and value.overlaps(made)
            ),
            unknown_outputs=tuple(unknown),
            problem="" if intact else "writes outside its outputs and scratch",
        )

    def _run(
        self, call: ReportedCall, inputs: list[ReportedValue], written: list[GuardedBlock]
    ) -> bool:
        """Run all phases; return whether only outputs and scratch were written."""
        blocks = {value.id: self._input_block(value) for value in inputs if not _constant(value)}
        scratch = [GuardedBlock(size) for size in call.scratch_bytes]
        if call.worker_scratch_bytes:
            scratch.append(GuardedBlock(call.worker_scratch_bytes))
        operands: list[Operand] = [
            self._constant_offset(value) if _constant(value) else blocks[value.id].operand
            for value in inputs
        ]
        operands += [block.operand for block in (*written, *scratch)]
        self._kernels.call(call.phases, operands)
        return all(block.guards_intact for block in (*blocks.values(), *written, *scratch))

    def _input_block(self, value: ReportedValue) -> GuardedBlock:
        block = GuardedBlock(value.size_bytes)
        expected = self._reference(value)
        if expected is None:  # a view of what other values are, perhaps of several
            end = value.offset_bytes + value.size_bytes
            expected = self._stored(value.storage)[value.offset_bytes : end]
        block.fill(expected)
        return block

    def _keep(self, value: ReportedValue, array: np.ndarray) -> None:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        end = value.offset_bytes + value.size_bytes
        self._stored(value.storage)[value.offset_bytes : end] = content

    def _stored(self, storage: int) -> np.ndarray:
        """All bytes of a storage; those of a model's input are known from the beginning."""
        if storage not in self._bytes:
            owner = self._values[storage]
            self._bytes[storage] = np.zeros(owner.size_bytes, np.uint8)
            given = self._reference(owner) if owner.kind == "input" else None
            if given is not None:
                self._keep(owner, given)
        return self._bytes[storage]

    def _constant_offset(self, value: ReportedValue) -> int:
        offset = value.offset
        assert offset is not None, f"constant {value.id} has no offset"
        return offset

    def _reference(self, value: ReportedValue) -> np.ndarray | None:
        """onnxruntime's tensor in the value's layout, shape and dtype."""
        name = self._names.get(value.held)
        if name is None or name not in self._known:
            return None
        array = self._known[name].astype(value.dtype, copy=False)
        made = self._first[value.held]
        if made.channel_block is not None and len(made.shape) == 4:  # channels last
            array = np.ascontiguousarray(np.moveaxis(array, 1, -1))
        elif made.channel_block is not None:
            batch, blocks, height, width, block = made.shape
            split = array.reshape(batch, blocks, block, height, width)
            array = np.ascontiguousarray(np.moveaxis(split, 2, -1))
        return array.reshape(value.shape)


def _pointer_count(call: ReportedCall) -> int:
    blocks = (*call.inputs, *call.outputs, *call.scratch_bytes)
    return len(blocks) + (call.worker_scratch_bytes > 0)


def _constant(value: ReportedValue) -> bool:
    return value.kind == "constant"
