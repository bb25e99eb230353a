"""TIR expressions as C99. What needs a statement of its own is put before the one that reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import tirx

from compiler.errors import UnsupportedError
from compiler.kernels.c_halves import (
    WIDENED,
    WIDENED_HIGH,
    WIDENED_LOW,
    Parities,
    is_half_load,
)
from compiler.kernels.c_rounding import ROUNDED, match_rounding
from compiler.kernels.c_types import c_type, float_literal, int_literal, suffix

_BINARY = {
    tirx.Add: "+",
    tirx.Sub: "-",
    tirx.Mul: "*",
    tirx.Div: "/",
    tirx.Mod: "%",
    tirx.EQ: "==",
    tirx.NE: "!=",
    tirx.LT: "<",
    tirx.LE: "<=",
    tirx.GT: ">",
    tirx.GE: ">=",
    tirx.And: "&&",
    tirx.Or: "||",
    tirx.BitwiseAnd: "&",
    tirx.BitwiseOr: "|",
    tirx.BitwiseXor: "^",
}
# One argument, and TVM leaves them as they are for C.
_LIBM = {
    "fabs": "fabs",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "round": "nearbyint",
    "nearbyint": "nearbyint",
    "sqrt": "sqrt",
}


class Expressions:
    """Writes expressions; keeps the statements and the helpers that they need.

    Args:
        name_of: the C name of a variable.
        element: C text for an element of a buffer, from the buffer and the text of its index.
    """

    def __init__(self, name_of: Callable[[Any], str], element: Callable[[Any, str], str]) -> None:
        self._name_of = name_of
        self._element = element
        self._pending: list[str] = []  # statements to come before the current one
        self._count = 0
        self.helpers: dict[str, str] = {}  # definitions by name
        self.parities = Parities()

    def take_pending(self) -> list[str]:
        """Return the statements that must stand before what was written since the last call."""
        pending, self._pending = self._pending, []
        return pending

    def write(self, node: Any) -> str:
        """Return C text that may stand as an operand of any operator."""
        if isinstance(node, tirx.IntImm):
            return int_literal(int(node.value), str(node.ty.dtype))
        if isinstance(node, tirx.FloatImm):
            return float_literal(float(node.value), str(node.ty.dtype))
        if isinstance(node, tvm.ir.TensorLoad):
            c_type(str(node.ty.dtype))  # a half is read by its conversion only
            (index,) = node.indices
            return self._element(node.source, self.write(index))
        if isinstance(node, tirx.Let):
            return self._let(node)
        if isinstance(node, tvm.ir.Call):
            return self._call(node)
        if isinstance(node, tvm.ir.Var):
            return self._name_of(node)
        return self._operator(node)

    def _operator(self, node: Any) -> str:
        kind = type(node)
        if kind is tirx.Sub and (rounded := self._rounded(node)) is not None:
            return rounded
        if kind in _BINARY:
            return f"({self.write(node.a)} {_BINARY[kind]} {self.write(node.b)})"
        if isinstance(node, tirx.Min | tirx.Max):
            return self._extreme(node, "min" if isinstance(node, tirx.Min) else "max")
        if isinstance(node, tirx.Not):
            return f"(!{self.write(node.a)})"
        if isinstance(node, tirx.Cast):
            return self._cast(node)
        if isinstance(node, tirx.BitwiseNot):
            return f"(~{self.write(node.a)})"
        if isinstance(node, tirx.LShift | tirx.RShift):
            return self._shift(node)
        if isinstance(node, tirx.Select):
            return self._choice(node.condition, node.true_value, node.false_value)
        raise _no_form(kind.__name__)

    def _extreme(self, node: Any, word: str) -> str:
        dtype = str(node.ty.dtype)
        name, kind = f"ts_{word}_{suffix(dtype)}", c_type(dtype)
        sign = "<" if word == "min" else ">"
        body = f"{{ return a {sign} b ? a : b; }}"
        self.helpers[name] = f"static inline {kind} {name}({kind} a, {kind} b) {body}"
        return f"{name}({self.write(node.a)}, {self.write(node.b)})"

    def _rounded(self, node: Any) -> str | None:
        """A clipped float32 rounded to an integer: few instructions where the machine has them."""
        found = match_rounding(node)
        if found is None:
            return None
        self.helpers["ts_rounded"] = ROUNDED
        numbers = (int_literal(number, "int32") for number in found.numbers)
        return f"ts_rounded({', '.join([self.write(found.value), *numbers])})"

    def _cast(self, node: Any) -> str:
        dtype = str(node.ty.dtype)
        if dtype == "bool":
            return f"({self.write(node.value)} != 0)"
        if is_half_load(node):
            return self._half(node.value)
        return f"(({c_type(dtype)}){self.write(node.value)})"

    def _half(self, load: Any) -> str:
        """A half in memory as a float; one of a pair of weights is read as part of a word."""
        (index,) = load.indices
        self.helpers["ts_widened"] = WIDENED
        place = self.parities.of(index)
        if place is None:
            return f"ts_widened({self._element(load.source, self.write(index))})"
        name, text = (
            ("ts_widened_low", WIDENED_LOW),
            ("ts_widened_high", WIDENED_HIGH),
        )[place]
        self.helpers[name] = text
        return f"{name}(&{self._element(load.source, self.write(index - place))})"

    def _let(self, node: Any) -> str:
        value = self.write(node.value)
        kind = c_type(str(node.var.ty.dtype))
        self._pending.append(f"const {kind} {self._name_of(node.var)} = {value};")
        return self.write(node.body)

    def _choice(self, condition: Any, yes: Any, no: Any) -> str:
        """A conditional expression; a statement where a branch needs statements: they are its."""
        test = self.write(condition)
        before, self._pending = self._pending, []
        yes_text, yes_needs = self.write(yes), self.take_pending()
        no_text, no_needs = self.write(no), self.take_pending()
        self._pending = before
        if not yes_needs and not no_needs:
            return f"({test} ? {yes_text} : {no_text})"
        self._count += 1
        name = f"choice_{self._count}"
        self._pending += [
            f"{c_type(str(yes.ty.dtype))} {name};",
            f"if ({test}) {{",
            *(f"    {line}" for line in [*yes_needs, f"{name} = {yes_text};"]),
            "} else {",
            *(f"    {line}" for line in [*no_needs, f"{name} = {no_text};"]),
            "}",
        ]
        return name

    def _call(self, node: Any) -> str:
        operator = str(node.op.name).rpartition(".")[2]
        if operator == "if_then_else":
            return self._choice(*node.args)
        if operator == "likely":
            return self.write(node.args[0])
        if operator == "address_of":
            return f"(&{self.write(node.args[0])})"
        if operator == "reinterpret":
            return self._reinterpret(node)
        if operator in ("call_pure_extern", "call_extern"):
            name, *arguments = node.args
            return f"{name.value}({', '.join(self.write(a) for a in arguments)})"
        if operator in _LIBM:
            ending = "f" if str(node.ty.dtype) == "float32" else ""
            return f"{_LIBM[operator]}{ending}({self.write(node.args[0])})"
        if operator == "isnan":
            return f"(isnan({self.write(node.args[0])}) != 0)"
        raise _no_form(operator)

    def _shift(self, node: Any) -> str:
        value, count = self.write(node.a), self.write(node.b)
        dtype = str(node.ty.dtype)
        if isinstance(node, tirx.RShift) or dtype.startswith("uint"):
            return f"({value} {'>>' if isinstance(node, tirx.RShift) else '<<'} {count})"
        kind = c_type(dtype)  # bits beyond the sign are not C's to shift in signed numbers
        return f"(({kind})((u{kind}){value} << {count}))"

    def _reinterpret(self, node: Any) -> str:
        source, target = str(node.args[0].ty.dtype), str(node.ty.dtype)
        name = f"ts_bits_{suffix(source)}_{suffix(target)}"
        kind, given = c_type(target), c_type(source)
        self.helpers[name] = (
            f"static inline {kind} {name}({given} a)\n"
            f"{{\n    {kind} b;\n    memcpy(&b, &a, sizeof b);\n    return b;\n}}"
        )
        return f"{name}({self.write(node.args[0])})"


def _no_form(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"there is no C for `{what}`",
        why="kernels for microcontrollers are generated as C",
        fix="replace the operator in the model, and report the model",
    )
