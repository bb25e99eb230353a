"""What the operators' rules share: the graph, its quantized values, and how results are emitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import relax

from compiler.stages.integer.quantizers import (
    MOVEMENTS,
    SMALL_INTEGERS,
    Definitions,
    Quantizer,
    StaysFloatError,
    looked_up,
    quantizer_of,
)
from compiler.stages.integer.values import Integers, Operand
from compiler.stages.operators.integer_dot import IntegerDot
from compiler.stages.operators.requantize import Bounds, requantized
from compiler.stages.provenance import is_call_to

INT32_LIMIT = 2**31
# A float32 of an int32 times so much fits 32 bits.
FITTING_FACTOR = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Where a result goes: its quantizer, what activations leave of its range, a leaky slope."""

    quantizer: Quantizer
    bounds: Bounds
    slope: float | None = None  # of what is negative


class Context:
    """The graph as far as it has been rewritten.

    Args:
        definitions: of the variables of the graph as it was.
        rewritten: gives the new expression of an old one.
    """

    def __init__(
        self,
        builder: relax.BlockBuilder,
        definitions: Definitions,
        rewritten: Callable[[Any], Any],
        dot: IntegerDot,
    ) -> None:
        self.builder, self.definitions, self.dot = builder, definitions, dot
        self._rewritten = rewritten
        self._known: dict[Any, Integers] = {}
        self._wide: dict[Integers, Integers] = {}  # rows -> the same as images one row high
        self._count = 0
        # Of the quantizer at hand: old variables that a rule looked through, the last call made.
        self.inner_names: list[str] = []
        self.newest_call: str | None = None

    def begin(self) -> None:
        """Begin with another quantizer."""
        self.inner_names, self.newest_call = [], None

    def behind(self, expression: Any) -> Any:
        """The call or constant behind variables."""
        return looked_up(expression, self.definitions)

    def emit(self, expression: Any) -> Any:
        """Bind an expression to a new variable, of a name that no other stage gives."""
        self._count += 1
        return self.builder.emit(expression, name_hint=f"integers{self._count}")

    def emit_te(self, compute: Callable[..., Any], *operands: Any, name: str) -> Any:
        """Bind a call of a tensor expression to a new variable."""
        made = self.emit(self.builder.call_te(compute, *operands, primfunc_name_hint=name))
        self.newest_call = made.name
        return made

    def plain(self, expression: Any) -> Integers:
        """A new expression in ONNX's order of axes."""
        return Integers(self.emit, plain=expression)

    def channels_last(self, expression: Any) -> Integers:
        """A new expression of shape [N, H, W, C]."""
        return Integers(self.emit, channels_last=expression)

    def widened(self, rows: Integers) -> Integers:
        """[N, C, W] as images [N, C, 1, W]: what they were made from, or a view."""
        if rows not in self._wide:
            batch, channels, width = rows.shape
            view = self.emit(relax.op.reshape(rows.plain, (batch, channels, 1, width)))
            self._wide[rows] = self.plain(view)
        return self._wide[rows]

    def narrowed(self, images: Integers) -> Integers:
        """[N, C, 1, W] as [N, C, W]; the view is dropped later if all readers widen it again."""
        batch, channels, _, width = images.shape
        view = self.emit(relax.op.reshape(images.plain, (batch, channels, width)))
        rows = self.plain(view)
        self._wide[rows] = images
        return rows

    def knows(self, variable: Any) -> bool:
        """Whether this stage made the variable's integers."""
        return variable in self._known

    def remember(self, variable: Any, integers: Integers) -> None:
        """Let a variable of the old graph stand for these integers."""
        self._known[variable] = integers

    def integers(self, variable: Any) -> Integers:
        """The integers that a variable of the old graph stands for."""
        if variable not in self._known:
            self._known[variable] = self.plain(self._rewritten(variable))
        return self._known[variable]

    def operand(self, expression: Any) -> Operand | None:
        """The quantized tensor that an old float expression is; None if it is none."""
        call = self.behind(expression)
        name = getattr(getattr(call, "op", None), "name", "")
        if name in MOVEMENTS:
            inner = self.operand(call.args[0])
            return None if inner is None else replace(inner, integers=inner.integers.moved(call))
        if not is_call_to(call, "relax.dequantize"):
            return None
        found = quantizer_of(call)
        if found is None or not isinstance(call.args[0], relax.Var):
            return None
        integers = self.integers(call.args[0])
        assert integers.dtype in SMALL_INTEGERS, integers.dtype
        return Operand(integers=integers, scale=found.scale, zero=found.zero)

    def needed(self, expression: Any) -> Operand:
        """As `operand`.

        Raises:
            StaysFloatError: it is no quantized tensor.
        """
        found = self.operand(expression)
        if found is None:
            raise StaysFloatError("an operand is not quantized to 8 bits per tensor")
        return found

    def requantize(
        self,
        sums: Any,
        bias: np.ndarray,
        factor: np.ndarray,
        to: Result,
        *,
        summed: tuple[str, Callable[[Any], Any]] | None = None,
    ) -> Any:
        """Emit ``sums`` as integers of the result.

        Args:
            summed: a name and what makes the sums of `sums` in the same kernel, where the two
                would not be fused.
            bias: whole numbers, broadcast to the sums from the right.
            factor: float64, likewise; ``accumulator scale / output scale``.
        """
        operands = [relax.const(bias.astype(np.int32)), relax.const(_factors(factor))]
        if to.slope is not None:
            operands.append(relax.const(_factors(factor * to.slope)))
        name, make = summed or ("requantize", _as_it_is)
        fits = self.dot.saturates_results and products_fit(factor, to.slope)
        return self.emit_te(
            lambda data, *more: requantized(make(data), *more, to=to.bounds, fits=fits),
            sums,
            *operands,
            name=name,
        )


def products_fit(factor: np.ndarray, slope: float | None) -> bool:
    """Whether the product of any int32 and a factor fits 32 bits, below 0 by `slope` more."""
    return float(np.abs(factor).max()) * max(1.0, abs(slope or 0.0)) <= FITTING_FACTOR


def _as_it_is(sums: Any) -> Any:
    return sums


def _factors(factor: np.ndarray) -> np.ndarray:
    """In float32, one number if all are equal."""
    rounded = np.atleast_1d(factor).astype(np.float32)
    if np.all(rounded == rounded.flat[0]):
        return rounded.reshape(-1)[:1]
    return np.ascontiguousarray(rounded)


def folded_bias(
    bias: np.ndarray | None, scales: np.ndarray, zero: int, weight_sums: np.ndarray
) -> np.ndarray:
    """Return the bias in units of the sums, less what the zero point of the data adds to them.

    Args:
        bias: reals, one for each output channel; None for none.
        scales: of the sums, float64.
        zero: of the data as the sums read it.
        weight_sums: of each output channel.
    """
    units = np.zeros(weight_sums.shape) if bias is None else np.rint(bias / scales)
    folded = units - zero * weight_sums.astype(np.float64)
    return np.broadcast_to(folded, weight_sums.shape)


def refuse_overflow(bias: np.ndarray, magnitudes: np.ndarray) -> None:
    """Raise StaysFloatError if a sum may not fit 32 bits.

    Args:
        magnitudes: sum of the absolute weights of each output channel.
    """
    if np.any(np.abs(bias) + 255.0 * magnitudes >= INT32_LIMIT):
        raise StaysFloatError("its sums may not fit 32 bits")
