"""Attention as one kernel, wherever the graph computes it: the score matrix is never whole.

The pattern is ``matmul(softmax(scale * matmul(q, k) + masks), v)``, with the transpositions,
slices and factors around it: they become indices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.ir import IRModule

from compiler.stages.attention_forms import AttentionForms, attention_text
from compiler.stages.constants import constant_array
from compiler.stages.decisions import NO_CHOICES, Decider
from compiler.stages.operand_views import (
    Index,
    View,
    lies_together,
    only_unit_axes_differ,
    scaled_operand,
    shape_of,
    view_of,
)
from compiler.stages.operators.attention import AttentionShape, attention, padded_rows
from compiler.stages.operators.attention_tile import AttentionTile, Machine, attention_tiles
from compiler.stages.provenance import STANDS_FOR, bindings, is_call_to
from compiler.target_spec import TargetSpec
from compiler.tuning.record import Choice
from schedules.cpu.register_tile import FLOAT_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attention:
    """One occurrence: operands as views, masks in the shape of the scores."""

    shape: AttentionShape
    tile: AttentionTile
    query: View
    key: View
    value: View
    masks: tuple[_Mask, ...]
    inside: tuple[str, ...]  # names of the variables that the kernel takes the place of


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mask:
    """What is added to the scores; `index` of scores [*batch, row, position] in its shape."""

    source: Any
    index: Index


def fuse_attention(
    mod: IRModule, *, spec: TargetSpec, choices: Mapping[str, Choice] = NO_CHOICES
) -> IRModule:
    """Return the module with a call of one kernel for each attention of float32.

    Args:
        choices: of records, by signature.
    """
    machine = Machine(
        lanes=spec.lanes(dtype_bits=32),
        registers=spec.vector.register_count,
        l1d_bytes=spec.cache.l1d_bytes,
    )
    main = mod["main"]
    decider = Decider(choices)
    found = _tiled(_Finder(main, machine).found(), machine, decider)
    if not found:
        return decider.noted(mod)
    fuser = _Fuser(mod, found, machine.lanes, spec.cache.l2_bytes)
    func = fuser.visit_expr(main)
    out = fuser.builder_.get()
    out.update_func(out.get_global_var("main"), func)
    stands_for = {result.name: list(one.inside) for result, one in found.items()}
    stands_for |= dict(mod.attrs.get(STANDS_FOR, {}))
    named = out.with_attrs(mod.attrs or {}).with_attr(STANDS_FOR, tvm.runtime.convert(stands_for))
    return decider.noted(named)


def _tiled(
    found: Mapping[Any, _Attention], machine: Machine, decider: Decider
) -> dict[Any, _Attention]:
    """The occurrences that become one kernel, with the tiles that were chosen for them."""
    variables: dict[str, list[str]] = {}
    for result, one in found.items():
        variables.setdefault(attention_text(one.shape), []).append(result.name)
    tiled = {}
    for result, one in found.items():
        text, forms = attention_text(one.shape), AttentionForms(shape=one.shape, machine=machine)
        options = forms.options()
        taken = decider.decide(text, options, variables=variables[text], refused=forms.refused)
        tile = forms.tile(taken)
        if tile is not None:
            tiled[result] = replace(one, tile=tile)
    return tiled


class _Finder:
    """Looks for the pattern in a function."""

    def __init__(self, main: relax.Function, machine: Machine) -> None:
        self._machine = machine
        self._defined: dict[Any, Any] = {b.var: b.value for b in bindings(main)}
        self._reads: Counter[Any] = Counter()
        for value in [*self._defined.values(), main.body.body]:
            self._reads.update(relax.analysis.free_vars(value))
        self._readers: dict[Any, Any] = {}
        for variable, value in self._defined.items():
            for read in relax.analysis.free_vars(value):
                self._readers[read] = variable

    def found(self) -> dict[Any, _Attention]:
        """The occurrences by the variable of their result."""
        results = {}
        for variable, value in self._defined.items():
            if is_call_to(value, "relax.matmul"):
                result, order = self._result(variable)
                attention = self._match(variable, order)
                if attention is not None:
                    results[result] = attention
        return results

    def _result(self, product: Any) -> tuple[Any, tuple[int, ...]]:
        """The product, or the transposition that alone reads it and leaves its columns last."""
        plain = tuple(range(len(shape_of(product))))
        reader = self._readers.get(product)
        call: Any = self._defined.get(reader)
        if self._reads[product] != 1 or not is_call_to(call, "relax.permute_dims"):
            return product, plain
        axes = tuple(int(axis) % len(plain) for axis in call.attrs.axes or plain[::-1])
        return (reader, axes) if axes[-1] == plain[-1] else (product, plain)

    def _alone(self, variable: Any) -> Any:
        """What the variable is bound to, None if more than one reads it."""
        return self._defined.get(variable) if self._reads[variable] == 1 else None

    def _match(self, mixed: Any, order: tuple[int, ...]) -> _Attention | None:
        product = self._defined[mixed]
        softmax = self._alone(product.args[0])
        shape = shape_of(product.args[0])
        if not is_call_to(softmax, "relax.nn.softmax") or len(shape) < 3:
            return None
        if int(softmax.attrs.axis) not in (-1, len(shape) - 1):
            return None
        scores, scale, masks, through = self._scores(softmax.args[0])
        if scores is None or shape_of(scores) != shape:
            return None
        query, key = (view_of(operand, self._defined) for operand in scores.args)
        value = view_of(product.args[1], self._defined)
        left, right, columns = (shape_of(v) for v in (*scores.args, product.args[1]))
        batches = {shape[:-2], left[:-2], right[:-2], columns[:-2]}
        operands = (scores.args[0], scores.args[1], product.args[1])
        if len(batches) != 1 or any(str(v.ty.dtype) != "float32" for v in operands):
            return None
        rows, positions = shape[-2:]
        tiles = attention_tiles(rows, positions, columns[-1], self._machine)
        if not tiles or value.scale != 1.0 or 0 in (*shape, left[-1], columns[-1]):
            return None
        read = [v for view in (query, key, value) for v in reversed(view.through)]
        swapped = View(source=key.source, index=lambda at: key.index([*at[:-2], at[-1], at[-2]]))
        return _Attention(
            shape=AttentionShape(
                batch=shape[:-2],
                rows=rows,
                positions=positions,
                depth=left[-1],
                columns=columns[-1],
                scale=scale * query.scale * key.scale,
                order=order,
            ),
            tile=tiles[0],
            query=query,
            key=swapped,
            value=value,
            masks=tuple(masks),
            inside=tuple(v.name for v in (*read, *through, product.args[0], mixed)),
        )

    def _scores(self, reached: Any) -> tuple[Any, float, list[_Mask], list[Any]]:
        """From what softmax reads to the product q k: that, its factor, what is added to it.

        The first is None where something else is on the way; the last are the variables there.
        """
        index: Index = list
        scale, masks, through = 1.0, list[_Mask](), list[Any]()
        while True:
            call = self._alone(reached)
            through.insert(0, reached)
            if call is None:
                return None, scale, masks, through
            if is_call_to(call, "relax.matmul"):
                return call, scale, masks, through
            scaled = scaled_operand(call)
            if scaled is not None:
                reached, scale = scaled[0], scale * scaled[1]
            elif is_call_to(call, "relax.add") and scale == 1.0:
                wide = [v for v in call.args if shape_of(v) == shape_of(call)]
                wide = [v for v in wide if self._reaches_product(v)]
                if not wide:
                    return None, scale, masks, through
                other = call.args[1] if wide[0].same_as(call.args[0]) else call.args[0]
                masks.append(_Mask(source=other, index=_broadcast(index, shape_of(other))))
                reached = wide[0]
            elif is_call_to(call, "relax.reshape"):
                if not only_unit_axes_differ(shape_of(call.args[0]), shape_of(call)):
                    return None, scale, masks, through
                index = _through_reshape(index, shape_of(call.args[0]), shape_of(call))
                reached = call.args[0]
            else:
                return None, scale, masks, through

    def _reaches_product(self, variable: Any) -> bool:
        names = ("relax.add", "relax.multiply", "relax.divide", "relax.reshape", "relax.matmul")
        call = self._alone(variable)
        return any(is_call_to(call, name) for name in names)


def _broadcast(index: Index, shape: tuple[int, ...]) -> Index:
    """Indices of the wide shape in one that is broadcast to it."""

    def narrow(at: Any) -> list[Any]:
        last = index(at)[-len(shape) :] if shape else []
        return [0 if extent == 1 else i for i, extent in zip(last, shape, strict=True)]

    return narrow


def _through_reshape(index: Index, source: tuple[int, ...], result: tuple[int, ...]) -> Index:
    wide = [axis for axis, extent in enumerate(result) if extent != 1]

    def back(at: Any) -> list[Any]:
        reached, left = index(at), iter(wide)
        return [0 if extent == 1 else reached[next(left)] for extent in source]

    return back


@relax.expr_functor.mutator
class _Fuser(relax.PyExprMutator):  # type: ignore[misc]
    """Binds the result of each occurrence to a call of its kernel."""

    def __init__(
        self, mod: IRModule, found: Mapping[Any, _Attention], lanes: int, l2_bytes: int
    ) -> None:
        super().__init__(mod)
        self._l2_bytes = l2_bytes
        self._found = found
        self._lanes = lanes
        self._turned: dict[Any, Any] = {}  # masks with positions outside rows

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        attention = self._found.get(binding.var)
        if attention is None:
            super().visit_var_binding_(binding)
            return
        call = self.builder_.normalize(self._call(attention))
        self.builder_.emit_normalized(relax.VarBinding(binding.var, call))

    def _call(self, found: _Attention) -> relax.Expr:
        masks = [self._mask(mask, found) for mask in found.masks]
        views = (found.query, *self._near(found))
        operands = [self.visit_expr(view.source) for view in views] + [m.source for m in masks]

        def kernel(*tensors: te.Tensor) -> te.Tensor:
            return attention(
                tensors,
                shape=found.shape,
                tile=found.tile,
                lanes=self._lanes,
                indices=[view.index for view in views],
                masks=[mask.index for mask in masks],
            )

        return self.builder_.call_te(kernel, *operands, primfunc_name_hint="attention")

    def _near(self, found: _Attention) -> tuple[View, View]:
        """Keys and values; copies that lie together where each chunk of rows reads them again.

        From beyond the second cache they come faster in the order in which they lie.
        """
        shape = found.shape
        bytes_ = shape.positions * (shape.depth + shape.columns) * FLOAT_BYTES
        wide = ((found.key, shape.depth), (found.value, shape.columns))
        if not 0 < self._l2_bytes // 2 < bytes_:
            return found.key, found.value
        key, value = (
            self._copied(view, (*shape.batch, shape.positions, width)) for view, width in wide
        )
        return key, value

    def _copied(self, view: View, shape: tuple[int, ...]) -> View:
        if lies_together(view, shape):
            return view

        def copy(source: te.Tensor) -> te.Tensor:
            return te.compute(shape, lambda *at: source[tuple(view.index(at))], name="copy")

        source = self.visit_expr(view.source)
        call = self.builder_.call_te(copy, source, primfunc_name_hint="gather_heads")
        return View(source=self.builder_.emit(call), index=list)

    def _mask(self, mask: _Mask, found: _Attention) -> _Mask:
        """The mask in a form that vectors of rows can be read of."""
        shape = shape_of(mask.source)
        if len(shape) < 2 or shape[-2] == 1:
            source = self.visit_expr(mask.source)
            return _Mask(source=source, index=mask.index)
        rows = padded_rows(found.shape, found.tile, self._lanes)
        key = (mask.source, rows)
        if key not in self._turned:
            self._turned[key] = self._with_rows_last(mask.source, rows)
        last, given = shape[-1], mask.index

        def index(at: Any) -> list[Any]:
            *lead, row, position = given(at)
            return [*lead, position if last != 1 else 0, row]

        return _Mask(source=self._turned[key], index=index)

    def _with_rows_last(self, source: Any, rows: int) -> Any:
        array = constant_array(source)
        if array is not None:
            more = [(0, 0)] * (array.ndim - 1) + [(0, rows - array.shape[-2])]
            turned = np.swapaxes(array, -1, -2)
            return relax.const(np.ascontiguousarray(np.pad(turned, more, mode="edge")))
        turn = partial(_turned, rows=rows)
        call = self.builder_.call_te(turn, self.visit_expr(source), primfunc_name_hint="mask")
        return self.builder_.emit(call)


def _turned(mask: te.Tensor, rows: int) -> te.Tensor:
    """``mask[..., row, position]`` as [..., position, row], the last row repeated up to `rows`."""
    *lead, given, positions = (int(extent) for extent in mask.shape)

    def element(*at: Any) -> Any:
        *before, position, row = at
        return mask[(*before, tirx.min(row, given - 1) if rows > given else row, position)]

    return te.compute((*lead, positions, rows), element, name="mask")
