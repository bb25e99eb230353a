"""How much code a lowered kernel is, and how much of it a run executes, counted in its TIR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import sym, tirx
from tvm_ffi import structural

from compiler.kernels.build import RUNTIME_FUNCTIONS

_ARITHMETIC = (
    *(tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Min, tirx.Max),
    *(tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE),
)
# Calls that become at most one instruction on integers or addresses, which is not counted.
_SMALL_CALLS = {
    *("shift_left", "shift_right", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"),
    *("handle_add_byte_offset", "address_of", "likely"),
}
_CALLS = {"if_then_else": "choice", "reinterpret": "operation"}


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelWork:
    """Counts of a kernel, all phases together; indices and loads are left out.

    Compilers make little of indices, and loads and stores grow with the operations.
    """

    loops: int = 0  # loops and branches in the code
    operations: int = 0  # on floats: arithmetic, comparisons, conversions, choices, calls
    run_operations: int = 0  # the same but for choices and calls, as often as a run does them
    run_calls: int = 0  # of mathematical functions, likewise
    runtime_functions: frozenset[str] = frozenset()  # of the library's own runtime

    def __add__(self, other: KernelWork) -> KernelWork:
        return KernelWork(
            loops=self.loops + other.loops,
            operations=self.operations + other.operations,
            run_operations=self.run_operations + other.run_operations,
            run_calls=self.run_calls + other.run_calls,
            runtime_functions=self.runtime_functions | other.runtime_functions,
        )

    def times(self, count: int) -> KernelWork:
        """The same code, run `count` times as often."""
        return KernelWork(
            loops=self.loops,
            operations=self.operations,
            run_operations=self.run_operations * count,
            run_calls=self.run_calls * count,
            runtime_functions=self.runtime_functions,
        )


def work_of(body: Any, extent: int) -> KernelWork:
    """Return the work of a phase's body that runs over its whole range.

    Of a branch with two sides the first one counts as taken.

    Args:
        extent: of the phase's range: of a loop whose bounds are its parameters.
    """
    return _Counter(extent).statement(body)


class _Counter:
    """Adds up the work of statements, loops as often as they run."""

    def __init__(self, extent: int) -> None:
        self._extent = extent
        self._analyzer = sym.Analyzer()

    def statement(self, node: Any) -> KernelWork:
        if isinstance(node, tirx.SeqStmt):
            return self._all(node.seq)
        if isinstance(node, tirx.AttrStmt):
            return self.statement(node.body)
        if isinstance(node, tirx.For):
            return KernelWork(loops=1) + self.statement(node.body).times(self._times(node.extent))
        if isinstance(node, tirx.While):
            return KernelWork(loops=1) + self.statement(node.body)
        if isinstance(node, tirx.IfThenElse):
            other = [] if node.else_case is None else [node.else_case]
            taken = KernelWork(loops=1) + _expression(node.condition)
            return taken + self.statement(node.then_case) + self._all(other).times(0)
        if isinstance(node, tirx.BufferStore):
            return sum((_expression(e) for e in (node.value, *node.indices)), KernelWork())
        if isinstance(node, tirx.Bind | tirx.Evaluate):
            return _expression(node.value)
        return KernelWork()  # a declaration

    def _all(self, statements: Any) -> KernelWork:
        return sum((self.statement(statement) for statement in statements), KernelWork())

    def _times(self, extent: Any) -> int:
        """How often a loop runs, at most: the extent of a last chunk is a minimum."""
        if isinstance(extent, tirx.IntImm):
            return int(extent.value)
        most = int(self._analyzer.const_int_bound(self._analyzer.simplify(extent)).max_value)
        return most if most < 2**31 - 1 else self._extent


def _expression(node: Any) -> KernelWork:
    counts: Counter[str] = Counter()
    functions: set[str] = set()

    def look(kind: str) -> Callable[[Any], None]:
        return lambda _: counts.update((kind,))

    def arithmetic(found: Any) -> None:
        counts["operation"] += _is_float(found.a)

    def call(found: Any) -> None:
        name = str(getattr(found.op, "name", found.op)).rpartition(".")[2]
        if name == "call_extern" and str(found.args[0].value) in RUNTIME_FUNCTIONS:
            functions.add(str(found.args[0].value))
            counts["choice"] += 1  # code, but how much it executes is not known here
        elif name not in _SMALL_CALLS:
            counts[_CALLS.get(name, "call")] += 1

    structural.structural_walk(
        node,
        [
            (_ARITHMETIC, arithmetic),
            (tirx.Cast, look("operation")),
            (tirx.Select, look("choice")),
            (tvm.ir.Call, call),
        ],
    )
    return KernelWork(
        operations=counts.total(),
        run_operations=counts["operation"],
        run_calls=counts["call"],
        runtime_functions=frozenset(functions),
    )


def _is_float(operand: Any) -> bool:
    return "float" in str(operand.ty.dtype)
