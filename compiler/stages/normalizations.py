"""Find normalisations of rows that were written out in primitive operators, and name them.

``x / sqrt(mean(x * x) + e) * g`` is a root-mean-square normalisation; of ``x = z - mean(z)`` it is
a layer normalisation of z. As one operator each is one kernel that reads a row once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from compiler.stages.constants import constant_array
from compiler.stages.operand_views import shape_of
from compiler.stages.provenance import bindings, is_call_to


@dataclass(frozen=True, kw_only=True, slots=True)
class _Normal:
    """``source`` without its mean if it is centred, over the root of its mean square + epsilon."""

    source: Any
    epsilon: float
    is_centred: bool


class _Finder:
    """What the variables of a function are bound to, and how often each is read."""

    def __init__(self, func: relax.Function) -> None:
        self._defined: Mapping[Any, Any] = {b.var: b.value for b in bindings(func)}
        self._readers: Counter[str] = Counter()
        for value in self._defined.values():
            self._readers.update(variable.name for variable in relax.analysis.free_vars(value))

    def _value(self, variable: Any) -> Any:
        """What a variable is bound to, None for constants and inputs."""
        return self._defined.get(variable)

    def normalization(self, value: Any) -> relax.Call | None:
        """The value as one operator, None if it is no normalisation."""
        size = shape_of(value)[-1]
        for operand, shift in self._with_constant("relax.add", value):
            scaled, beta = self._scaled(self._only_read_here(operand), size), _row(shift, size)
            if scaled is not None and scaled[0].is_centred and beta is not None:
                return _call(*scaled, beta)
        scaled = self._scaled(value, size)
        return None if scaled is None else _call(*scaled, None)

    def _scaled(self, value: Any, size: int) -> tuple[_Normal, np.ndarray | None] | None:
        """A normalised value and what each of its columns is multiplied with."""
        for operand, gamma in self._with_constant("relax.multiply", value):
            normal = self._normal(self._only_read_here(operand))
            if normal is not None and _row(gamma, size) is not None:
                return normal, _row(gamma, size)
        normal = self._normal(value)
        return None if normal is None else (normal, None)

    def _normal(self, value: Any) -> _Normal | None:
        for row, variance in self._over_root(value):
            found = self._mean_square(variance)
            if found is None or not found[0].same_as(row):
                continue
            source = self._centred(row)
            return _Normal(
                source=row if source is None else source,
                epsilon=found[1],
                is_centred=source is not None,
            )
        return None

    def _over_root(self, value: Any) -> list[tuple[Any, Any]]:
        """The pairs (x, v) for which the value is ``x / sqrt(v)``."""
        if is_call_to(value, "relax.divide"):
            root = self._value(value.args[1])
            return [(value.args[0], root.args[0])] if is_call_to(root, "relax.sqrt") else []
        if not is_call_to(value, "relax.multiply"):
            return []
        pairs = []
        for row, factor in (value.args, reversed(value.args)):
            inverse = self._value(factor)
            if is_call_to(inverse, "relax.rsqrt"):
                pairs.append((row, inverse.args[0]))
            elif is_call_to(inverse, "relax.divide") and _number(inverse.args[0]) == 1.0:
                root = self._value(inverse.args[1])
                pairs += [(row, root.args[0])] if is_call_to(root, "relax.sqrt") else []
        return pairs

    def _mean_square(self, variance: Any) -> tuple[Any, float] | None:
        """(x, e) if the value is ``mean(x * x) + e`` along the last axis."""
        for operand, epsilon in self._with_constant("relax.add", self._value(variance)):
            squares = self._value(self._mean_of(operand))
            if epsilon.size != 1 or squares is None:
                continue
            number = float(epsilon.reshape(-1)[0])
            if is_call_to(squares, "relax.square"):
                return squares.args[0], number
            if is_call_to(squares, "relax.power") and _number(squares.args[1]) == 2.0:
                return squares.args[0], number
            is_product = is_call_to(squares, "relax.multiply")
            if is_product and squares.args[0].same_as(squares.args[1]):
                return squares.args[0], number
        return None

    def _centred(self, row: Any) -> Any | None:
        """z if the value is ``z - mean(z)`` along the last axis."""
        value = self._value(row)
        if not is_call_to(value, "relax.subtract"):
            return None
        source = self._mean_of(value.args[1])
        return source if source is not None and source.same_as(value.args[0]) else None

    def _mean_of(self, variable: Any) -> Any | None:
        """What the variable is the mean of along the last axis, that axis kept."""
        value = self._value(variable)
        if not is_call_to(value, "relax.mean") or value.attrs.axis is None:
            return None
        last = len(shape_of(value.args[0])) - 1
        along = [int(axis) % (last + 1) for axis in value.attrs.axis]
        return value.args[0] if along == [last] and bool(value.attrs.keepdims) else None

    def _with_constant(self, operator: str, value: Any) -> list[tuple[Any, np.ndarray]]:
        """The operand that is computed and the one that is constant, where there are such."""
        if not is_call_to(value, operator):
            return []
        one, other = value.args
        pairs = ((one, constant_array(other)), (other, constant_array(one)))
        return [(operand, array) for operand, array in pairs if array is not None]

    def _only_read_here(self, variable: Any) -> Any:
        """What the variable is bound to, if nothing else reads it."""
        if not isinstance(variable, relax.Var) or self._readers[variable.name] != 1:
            return None
        return self._value(variable)


def _number(operand: Any) -> float | None:
    array = constant_array(operand)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _row(array: np.ndarray, size: int) -> np.ndarray | None:
    """The constant as one number for each column of a row, None if it differs between rows."""
    if array.size == 1:
        return np.full(size, array.reshape(-1)[0], np.float32)
    return array.reshape(-1) if array.size == size == array.shape[-1] else None


def _is_rows(value: Any) -> bool:
    return (
        isinstance(value, relax.Call)
        and isinstance(value.ty, relax.TensorType)
        and str(value.ty.dtype) == "float32"
        and len(shape_of(value)) > 1
    )


def _call(normal: _Normal, gamma: np.ndarray | None, beta: np.ndarray | None) -> relax.Call:
    size = shape_of(normal.source)[-1]
    scale = relax.const(np.ones(size, np.float32) if gamma is None else gamma)
    if not normal.is_centred:
        return relax.op.nn.rms_norm(normal.source, scale, axes=[-1], epsilon=normal.epsilon)
    shift = relax.const(np.zeros(size, np.float32) if beta is None else beta)
    return relax.op.nn.layer_norm(normal.source, scale, shift, axes=[-1], epsilon=normal.epsilon)


@relax.expr_functor.mutator
class _Joiner(relax.PyExprMutator):  # type: ignore[misc]
    """Replaces the last operator of each normalisation; the others are dead then."""

    def __init__(self, mod: IRModule, found: Mapping[str, relax.Call]) -> None:
        super().__init__(mod)
        self._found = found
        self._variable = ""

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        self._variable = binding.var.name
        super().visit_var_binding_(binding)

    def visit_call_(self, call: relax.Call) -> Any:
        return super().visit_call_(self._found.get(self._variable, call))


def join_normalizations(mod: IRModule) -> IRModule:
    """Return the module with normalisations of the last axis as one operator each."""
    main = mod["main"]
    finder = _Finder(main)
    found = {
        binding.var.name: made
        for binding in bindings(main)
        if _is_rows(binding.value) and (made := finder.normalization(binding.value)) is not None
    }
    out = mod.clone()
    if found:
        out["main"] = _Joiner(mod, found).visit_expr(main)
    return out
