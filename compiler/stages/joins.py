"""Concatenations that need no copy stay kernels of their own, so that the program can drop them.

Fused with what reads or makes its operands, a concatenation would be computed: each element asks
which operand it comes from. Alone, it vanishes when its operands are made in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from tvm import relax
from tvm.ir import IRModule

from compiler.join_places import Join, join_places
from compiler.stages.decisions import NO_CHOICES, Decider
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.contiguous import JOINS
from compiler.stages.provenance import bindings, is_call_to
from compiler.tuning.record import Choice

# Values of a PrimFunc's attribute `op_pattern`, Relax's OpPatternKind.
_PATTERN = "op_pattern"
_OPAQUE = 8
_IN_PLACE: Choice = {"algorithm": "in-place"}
_OPTIONS: tuple[Choice, ...] = (_IN_PLACE, {"algorithm": "fused"})


def keep_joins_apart(mod: IRModule, choices: Mapping[str, Choice] = NO_CHOICES) -> IRModule:
    """Return the module whose concatenations are not fused if all their operands can be placed.

    Each call must have a PrimFunc of its own (`separate_calls`).

    Args:
        choices: of records, by signature.
    """
    out = mod.clone()
    graph, decider = _Graph(mod), Decider(choices)
    placed = graph.placed()
    variables: dict[str, list[str]] = {}
    for position in placed:
        variables.setdefault(graph.texts[position], []).append(graph.names[position])
    for position in placed:
        text, callee = graph.texts[position], graph.callees[position]
        taken = decider.decide(text, _OPTIONS, variables=variables[text], refused=_refused)
        if taken == _IN_PLACE:
            out[callee] = mod[callee].with_attr(_PATTERN, _OPAQUE)
    return decider.noted(out)


def _refused(choice: Choice) -> str:
    return f"there is no algorithm {choice.get('algorithm')!r}"


def _text(call: relax.Call, result: relax.Var) -> str:
    """Return the signature of choice records."""
    shapes = [shape_of(value) for value in (*call.args[1].fields, result)]
    parts = " ".join("x".join(map(str, shape)) for shape in shapes[:-1])
    whole = "x".join(map(str, shapes[-1]))
    return f"concat {result.ty.dtype} {parts} to {whole}"


class _Graph:
    """The concatenations of `main`, over the variables that hold their operands' bytes."""

    def __init__(self, mod: IRModule) -> None:
        self.callees: list[Any] = []
        self.texts: list[str] = []
        self.names: list[str] = []
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
                self.texts.append(_text(value, variable))
                self.names.append(variable.name)
                self._sizes |= {item: _elements(item) for item in (variable, *operands)}
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self._made:
            self._made.add(variable)


def _elements(value: Any) -> int:
    return prod(shape_of(value))
