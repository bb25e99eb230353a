"""What an operand of a kernel is a view of: axes moved, parts cut out, times a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.stages.constants import constant_array

Index = Callable[[Sequence[Any]], list[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """``operand[i] == scale * source[index(i)]``."""

    source: Any
    index: Index
    scale: float = 1.0
    through: tuple[Any, ...] = ()  # the variables between operand and source


def shape_of(expression: Any) -> tuple[int, ...]:
    """The static shape of a tensor."""
    return tuple(int(extent) for extent in expression.ty.shape.values)


def view_of(operand: Any, defined: Mapping[Any, Any]) -> View:
    """Return the operand as a view of what is no view itself.

    Args:
        defined: the value that each variable is bound to.
    """
    view = View(source=operand, index=list)
    while True:
        step = _step(defined.get(view.source))
        if step is None:
            return view
        outer, inner = view.index, step.index
        view = View(
            source=step.source,
            index=lambda at, outer=outer, inner=inner: inner(outer(at)),  # type: ignore[misc]
            scale=view.scale * step.scale,
            through=(*view.through, view.source),
        )


def lies_together(view: View, shape: Sequence[int]) -> bool:
    """Whether the view is of all of its source, in its order; `shape` is the operand's."""
    source = shape_of(view.source)
    if not only_unit_axes_differ(source, shape):
        return False
    # Numbers that no slice makes equal: one for each axis.
    marks = [(axis + 1) << 40 for axis in range(len(shape))]
    found = view.index(marks)
    seen = [mark for mark, extent in zip(found, source, strict=True) if extent != 1]
    return seen == [mark for mark, extent in zip(marks, shape, strict=True) if extent != 1]


def _step(call: Any) -> View | None:
    """One operator as a view of its operand, None if it is none."""
    name = getattr(getattr(call, "op", None), "name", "")
    if name == "relax.permute_dims":
        return _permuted(call)
    if name in ("relax.reshape", "relax.squeeze", "relax.expand_dims"):
        return _same_axes(call)
    if name == "relax.strided_slice":
        return _part(call)
    scaled = scaled_operand(call)
    return View(source=scaled[0], index=list, scale=scaled[1]) if scaled else None


def _permuted(call: Any) -> View:
    rank = len(shape_of(call))
    given = call.attrs.axes
    axes = [int(axis) % rank for axis in given] if given is not None else [*range(rank)][::-1]
    return View(source=call.args[0], index=lambda at: [at[axes.index(i)] for i in range(rank)])


def only_unit_axes_differ(source: Sequence[int], result: Sequence[int]) -> bool:
    """Whether a reshape only adds or drops axes of extent 1."""
    return [e for e in source if e != 1] == [e for e in result if e != 1]


def _same_axes(call: Any) -> View | None:
    source, result = shape_of(call.args[0]), shape_of(call)
    if not only_unit_axes_differ(source, result):
        return None
    wide = [axis for axis, extent in enumerate(result) if extent != 1]

    def index(at: Sequence[Any]) -> list[Any]:
        left = iter(wide)
        return [0 if extent == 1 else at[next(left)] for extent in source]

    return View(source=call.args[0], index=index)


def _part(call: Any) -> View | None:
    """A slice of whole numbers and steps of 1."""
    numbers = [whole_numbers(argument) for argument in call.args[1:]]
    if len(numbers) not in (3, 4) or any(part is None for part in numbers):
        return None
    axes, begins, _, *steps = numbers
    if any(step != 1 for step in (steps[0] or ()) if steps):
        return None
    shape = shape_of(call.args[0])
    first = {axis % len(shape): begin for axis, begin in zip(axes or (), begins or (), strict=True)}
    starts = [
        min(max(first.get(axis, 0) + (extent if first.get(axis, 0) < 0 else 0), 0), extent)
        for axis, extent in enumerate(shape)
    ]
    return View(
        source=call.args[0],
        index=lambda at: [a + start if start else a for a, start in zip(at, starts, strict=True)],
    )


def whole_numbers(argument: Any) -> list[int] | None:
    values = []
    for field in getattr(argument, "fields", (None,)):
        value = getattr(field, "value", None)
        if value is None:
            return None
        values.append(int(value))
    return values


def scaled_operand(call: Any) -> tuple[Any, float] | None:
    """(x, c) if the call is x times or divided by the one number c."""
    name = getattr(getattr(call, "op", None), "name", "")
    if name not in ("relax.multiply", "relax.divide"):
        return None
    operands = list(call.args)
    pairs = [(operands[0], operands[1])]
    if name == "relax.multiply":
        pairs.append((operands[1], operands[0]))
    for value, number in pairs:
        array = constant_array(number)
        if array is None or array.size != 1 or shape_of(value) != shape_of(call):
            continue
        factor = float(array.reshape(-1)[0])
        if factor == 0.0:
            continue
        return value, factor if name == "relax.multiply" else 1.0 / factor
    return None
