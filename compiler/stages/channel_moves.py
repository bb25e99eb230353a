"""Shuffles of channels, with the concatenations and splits around them, as one copy each.

A shuffle is a reshape, a transpose and a reshape: a view, a copy and a view, which no fusion joins
with the concatenation before and the split after it. Here it is known of every such value which
channel of which earlier value each of its channels is; what is read is copied from there at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.ir import IRModule

from compiler.onnx_import.to_relax import ONNX_NAMES, onnx_names

# A copy asks of each channel where it comes from, and values live until their last reader.
_MOST_SOURCES = 4


@dataclass(frozen=True, slots=True)
class _Channels:
    """What a value's channels are: channel `channel[j]` of ``sources[source[j]]`` is the j-th.

    `groups` are the two axes in place of the channels' one while a shuffle is on its way.
    """

    sources: tuple[relax.Var, ...]
    source: np.ndarray
    channel: np.ndarray
    is_shuffled: bool = False
    groups: tuple[int, int] | None = None

    def taken(self, places: np.ndarray, **changes: Any) -> _Channels:
        """These channels of it, in this order."""
        fields = {"is_shuffled": self.is_shuffled, "groups": self.groups} | changes
        return _Channels(self.sources, self.source[places], self.channel[places], **fields)


def copied_channels(*operands: te.Tensor) -> te.Tensor:
    """``out[n, j] = sources[where[0, j]][n, where[1, j]]``, planes; `where` is the last operand."""
    *sources, where = operands
    batch, _, *plane = sources[0].shape

    def element(n: Any, j: Any, *position: Any) -> Any:
        value = sources[-1][(n, where[1, j], *position)]
        for number in reversed(range(len(sources) - 1)):
            there = sources[number][(n, where[1, j], *position)]
            value = tirx.if_then_else(where[0, j] == number, there, value)
        return value

    return te.compute((batch, where.shape[1], *plane), element, name="channels")


def _extents(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value.ty, "shape", None)
    return None if shape is None else tuple(int(extent) for extent in shape.values)


def _own(value: relax.Var) -> _Channels:
    """A value as the source of its own channels."""
    count = int(value.ty.shape.values[1])
    return _Channels((value,), np.zeros(count, int), np.arange(count))


def _joined(parts: Sequence[_Channels]) -> _Channels | None:
    """The channels of all parts, one after another; None if they come from too many sources."""
    sources = tuple(dict.fromkeys(source for part in parts for source in part.sources))
    if len(sources) > _MOST_SOURCES:
        return None
    numbers = [np.array([sources.index(s) for s in part.sources])[part.source] for part in parts]
    return _Channels(
        sources,
        np.concatenate(numbers),
        np.concatenate([part.channel for part in parts]),
        is_shuffled=any(part.is_shuffled for part in parts),
    )


class _Tracker:
    """Which channels the values are that moves have made so far."""

    def __init__(self) -> None:
        self.channels: dict[Any, _Channels] = {}
        self._parts: dict[Any, list[_Channels]] = {}

    def note(self, binding: relax.VarBinding) -> bool:
        """Note what a value's channels are; False for what is no move."""
        value, made = binding.value, None
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self._parts:
            made = self._parts[value.tuple_value][int(value.index)]
        elif isinstance(value, relax.Call):
            name = getattr(value.op, "name", "")
            if name == "relax.split":
                return self._split(binding.var, value)
            move = _MOVES.get(name)
            made = None if move is None else move(self, value)
        if made is not None:
            self.channels[binding.var] = made
        return made is not None

    def _of(self, value: Any) -> _Channels | None:
        """The channels of a value [N, C, ...]; those of one that no move made are its own."""
        if value in self.channels:
            return self.channels[value]
        shape = _extents(value)
        if not isinstance(value, relax.DataflowVar) or shape is None or len(shape) < 3:
            return None
        return _own(value)

    def _concat(self, call: relax.Call) -> _Channels | None:
        fields = getattr(call.args[0], "fields", None)
        if fields is None or call.attrs.axis is None or int(call.attrs.axis) != 1:
            return None
        parts = [part for field in fields if (part := self._of(field)) and not part.groups]
        if len(parts) < len(fields):
            return None
        return _joined(parts) or _joined([_own(field) for field in fields])

    def _split(self, variable: relax.Var, call: relax.Call) -> bool:
        known = self._of(call.args[0])
        if known is None or known.groups or int(call.attrs.axis) != 1:
            return False
        places = np.arange(len(known.channel))
        sections = call.attrs.indices_or_sections
        if isinstance(sections, int | tirx.IntImm):  # the last part may be shorter
            step = -(-len(places) // int(sections))
            sections = range(step, step * int(sections), step)
        ends = [int(end) for end in sections]
        self._parts[variable] = [known.taken(part) for part in np.split(places, ends)]
        return True

    def _reshape(self, call: relax.Call) -> _Channels | None:
        """Channels as two axes, or back from two axes to one."""
        known, old, new = self._of(call.args[0]), _extents(call.args[0]), _extents(call)
        if known is None or old is None or new is None:
            return None
        if known.groups:
            back = (old[0], old[1] * old[2], *old[3:])
            return known.taken(np.arange(len(known.channel)), groups=None) if new == back else None
        if len(new) != len(old) + 1 or (new[0], new[1] * new[2], *new[3:]) != old:
            return None
        return known.taken(np.arange(len(known.channel)), groups=(new[1], new[2]))

    def _transpose(self, call: relax.Call) -> _Channels | None:
        known = self.channels.get(call.args[0])
        if known is None or not known.groups or call.attrs.axes is None:
            return None
        axes = [int(axis) for axis in call.attrs.axes]
        if axes != [0, 2, 1, *range(3, len(axes))]:
            return None
        places = np.arange(len(known.channel)).reshape(known.groups).T.reshape(-1)
        return known.taken(places, is_shuffled=True, groups=known.groups[::-1])


_MOVES = {
    "relax.concat": _Tracker._concat,
    "relax.reshape": _Tracker._reshape,
    "relax.permute_dims": _Tracker._transpose,
}


@relax.expr_functor.mutator
class _Mover(relax.PyExprMutator):  # type: ignore[misc]
    """Moves stay in the module, unread; what reads a shuffled value reads a copy of its sources."""

    def __init__(self, mod: IRModule, onnx_names: dict[str, str]) -> None:
        super().__init__(mod)
        self._tracker = _Tracker()
        self._copies: dict[Any, relax.Var] = {}
        self._is_move = False
        self.onnx_names = onnx_names

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        self._is_move = isinstance(binding.var, relax.DataflowVar) and self._tracker.note(binding)
        super().visit_var_binding_(binding)
        self._is_move = False

    def visit_dataflow_var_(self, variable: relax.DataflowVar) -> Any:
        known = self._tracker.channels.get(variable)
        if self._is_move or known is None or not known.is_shuffled or known.groups:
            return super().visit_dataflow_var_(variable)
        if variable not in self._copies:
            self._copies[variable] = self._copy(variable.name, known)
        return self._copies[variable]

    def _copy(self, name: str, known: _Channels) -> relax.Var:
        where = relax.const(np.stack([known.source, known.channel]).astype("int32"))
        sources = [self.visit_expr(source) for source in known.sources]
        call = self.builder_.call_te(
            copied_channels, *sources, where, primfunc_name_hint="channels"
        )
        copy = self.builder_.emit(call, name_hint=name)
        if name in self.onnx_names:  # it holds the same ONNX value
            self.onnx_names[copy.name] = self.onnx_names[name]
        return copy


def join_channel_moves(mod: IRModule) -> IRModule:
    """Return the module whose shuffled channels are copied once from where they were made.

    The moves themselves stay, without readers: a later stage drops them.
    """
    names = onnx_names(mod)
    mover = _Mover(mod, names)
    main = mover.visit_expr(mod["main"])
    out = mover.builder_.get()
    out["main"] = main
    return out.with_attr(ONNX_NAMES, tvm.runtime.convert(mover.onnx_names))
