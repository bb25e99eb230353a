"""Concatenations that need no copy stay kernels of their own, so that the program can drop them.

Fused with what reads or makes its operands, a concatenation would be computed: each element asks
which operand it comes from. Alone, it vanishes when its operands are made in place.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import relax
from tvm.ir import IRModule

from compiler.join_places import Join, join_places
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.contiguous import JOINS
from compiler.stages.provenance import bindings, is_call_to

# Values of a PrimFunc's attribute `op_pattern`, Relax's OpPatternKind.
_PATTERN = "op_pattern"
_OPAQUE = 8


def keep_joins_apart(mod: IRModule) -> IRModule:
    """Return the module whose concatenations are not fused if all their operands can be placed.

    Each call must have a PrimFunc of its own (`separate_calls`).
    """
    out = mod.clone()
    graph = _Graph(mod)
    for position in graph.placed():
        callee = graph.callees[position]
        out[callee] = mod[callee].with_attr(_PATTERN, _OPAQUE)
    return out


class _Graph:
    """The concatenations of `main`, over the variables that hold their operands' bytes."""

    def __init__(self, mod: IRModule) -> None:
        self.callees: list[Any] = []
        self._joins: list[Join[Any]] = []
        self._sizes: dict[Any, int] = {}
        self._made: set[Any] = set()  # by kernels
        self._roots: dict[Any, Any] = {}
        for binding in bindings(mod["main"]):
            self._note(mod, binding)
        result = self._root(mod["main"].body.body)
        fields = getattr(result, "fields", None) or [result]
        self._made -= {self._root(field) for field in fields}

    def placed(self) -> tuple[int, ...]:
        return join_places(self._joins, self._sizes, self._made).done

    def _root(self, variable: Any) -> Any:
        return self._roots.get(variable, variable)

    def _note(self, mod: IRModule, binding: relax.VarBinding) -> None:
        variable, value = binding.var, binding.value
        if is_call_to(value, "relax.reshape"):
            self._roots[variable] = self._root(value.args[0])
        elif isinstance(value, relax.Var | relax.Tuple):
            self._roots[variable] = self._root(value)
        elif is_call_to(value, "relax.call_tir"):
            self._made.add(variable)
            callee = value.args[0]
            if JOINS in mod[callee].attrs:
                operands = tuple(self._root(operand) for operand in value.args[1].fields)
                self._joins.append(Join(variable, operands))
                self.callees.append(callee)
                self._sizes |= {item: _elements(item) for item in (variable, *operands)}
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self._made:
            self._made.add(variable)


def _elements(value: Any) -> int:
    return prod(shape_of(value))
