"""Small integers of a graph, in ONNX's order of axes and with channels last, made when needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import relax

from compiler.stages.operand_views import shape_of

TO_LAST, FROM_LAST = (0, 2, 3, 1), (0, 3, 1, 2)  # axes of a transpose of images


class Integers:
    """One tensor of integers; its two layouts are copies of each other."""

    def __init__(
        self,
        emit: Callable[[Any], Any],
        *,
        plain: Any | None = None,
        channels_last: Any | None = None,
    ) -> None:
        self._emit = emit
        self._plain, self._last = plain, channels_last

    @property
    def shape(self) -> tuple[int, ...]:
        """In ONNX's order."""
        if self._plain is not None:
            return tuple(shape_of(self._plain))
        shape = shape_of(self._last)
        return tuple(shape[axis] for axis in FROM_LAST)

    @property
    def dtype(self) -> str:
        """The type of its elements."""
        return str(self.newest.ty.dtype)

    @property
    def newest(self) -> Any:
        """The variable that it was made as."""
        return self._plain if self._last is None else self._last

    @property
    def is_last(self) -> bool:
        """Whether it exists with channels last."""
        return self._last is not None

    @property
    def plain(self) -> Any:
        """The tensor in ONNX's order of axes."""
        if self._plain is None:
            batch, height, width, channels = shape_of(self._last)
            shape = (batch, channels, height, width)
            self._plain = self._emit(_turned(self._last, FROM_LAST, shape))
        return self._plain

    @property
    def last(self) -> Any:
        """The tensor of rank 4 as [N, H, W, C]."""
        if self._last is None:
            batch, channels, height, width = shape_of(self._plain)
            shape = (batch, height, width, channels)
            self._last = self._emit(_turned(self._plain, TO_LAST, shape))
        return self._last

    def moved(self, call: relax.Call) -> Integers:
        """What a reshape, a transpose or the like makes of it."""
        axes = getattr(call.attrs, "axes", None) if call.op.name == "relax.permute_dims" else None
        order = None if axes is None else tuple(int(axis) for axis in axes)
        if order == FROM_LAST:
            return Integers(self._emit, channels_last=self.plain)
        if order == TO_LAST and self._last is not None:
            return Integers(self._emit, plain=self._last)
        if call.op.name == "relax.permute_dims":
            return Integers(self._emit, plain=self._emit(relax.op.permute_dims(self.plain, order)))
        shape = [int(extent) for extent in call.ty.shape.values]
        return Integers(self._emit, plain=self._emit(relax.op.reshape(self.plain, shape)))


def _turned(data: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """A transpose, or a view where one channel or one position makes it the same bytes."""
    _, first, second, third = shape_of(data)
    if axes == TO_LAST:
        same = first == 1 or second == third == 1
    else:
        same = third == 1 or first == second == 1
    return relax.op.reshape(data, shape) if same else relax.op.permute_dims(data, list(axes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Operand:
    """A dequantized tensor: ``scale * (q - zero)``."""

    integers: Integers
    scale: float
    zero: int

    @property
    def most(self) -> int:
        """The largest distance of an integer of its type from the zero point."""
        low, high = (-128, 127) if self.integers.dtype == "int8" else (0, 255)
        return max(high - self.zero, self.zero - low)
