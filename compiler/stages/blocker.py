"""Rewrites a graph's bindings on blocked values, ``[N, C/B, H, W, B]`` (`block_layout`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from compiler.onnx_import.to_relax import onnx_names
from compiler.program import WINOGRAD_KERNEL
from compiler.stages.blocked_parts import SLICE, SPLIT, blocked_part, blocked_slice
from compiler.stages.constants import PackedConstants, constant_array
from compiler.stages.conv2d_forms import Conv2dForm
from compiler.stages.layout_wishes import (
    ELEMENTWISE_BINARY,
    ELEMENTWISE_UNARY,
    FROM_LAST,
    POOLING,
    RESIZE,
    SPATIAL_REDUCTIONS,
    TO_LAST,
    axes_order,
)
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.bfloat_conv2d import (
    bfloat_conv2d,
    has_bfloat_form,
    pack_bfloat_weight,
)
from compiler.stages.operators.channel_blocks import (
    blocked_to_channels_last,
    channel_block,
    channels_last_to_blocked,
    unblocked,
)
from compiler.stages.operators.conv2d import conv2d_lanes, pack_conv2d_weight, packed_conv2d
from compiler.stages.operators.conv2d_columns import (
    columns_conv2d,
    pack_columns_weight,
    tap_run,
)
from compiler.stages.operators.conv2d_signature import Conv2dSignature, conv2d_signature
from compiler.stages.operators.depthwise_conv2d import (
    blocked_depthwise_conv2d,
    pack_depthwise_weight,
)
from compiler.stages.operators.resize import blocked_resize2d
from compiler.stages.operators.winograd import winograd_conv2d, winograd_weight
from compiler.stages.provenance import is_call_to
from compiler.target_spec import TargetSpec


@dataclass(frozen=True, slots=True)
class _Blocked:
    """A variable of rank 5 that holds a value of rank 4."""

    variable: relax.Var
    block: int


@relax.expr_functor.mutator
class Blocker(relax.PyExprMutator):  # type: ignore[misc]
    """Rewrites bindings in order; blocked results are known by the variable they replace."""

    def __init__(
        self,
        mod: IRModule,
        spec: TargetSpec,
        form: Callable[[Conv2dSignature], Conv2dForm],
        packed: PackedConstants,
        wanted: set[Any],
        *,
        bfloats: bool,
    ) -> None:
        """`bfloats`: direct sums over blocked channels are of bfloat16."""
        super().__init__(mod)
        self._wanted = wanted
        self._bfloats = bfloats
        self._lanes = spec.lanes(dtype_bits=32)
        self._vector = spec.vector
        self._form = form
        self._packed = packed
        self._name = ""  # of the variable that is being bound
        self._blocked: dict[Any, _Blocked] = {}
        self._plain: dict[Any, relax.Var] = {}
        self._splits: dict[Any, relax.Call] = {}
        self.onnx_names = onnx_names(mod)
        self.blocks: dict[str, int] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = binding.value
        self._name = binding.var.name
        made = None
        if isinstance(value, relax.Call) and is_call_to(value, SPLIT):
            self._splits[binding.var] = value
        if binding.var in self._wanted and isinstance(value, relax.Call):
            made = self._as_blocked(value)
        elif binding.var in self._wanted and isinstance(value, relax.TupleGetItem):
            made = self._part(value)
        if made is None:
            super().visit_var_binding_(binding)
            return
        expression, block = made
        variable = self.builder_.emit(expression, name_hint=binding.var.name)
        self._blocked[binding.var] = _Blocked(variable, block)
        self.blocks[variable.name] = block
        self._same_onnx_name(variable, binding.var.name)

    def _same_onnx_name(self, variable: relax.Var, name: str) -> None:
        """Let a new variable hold the ONNX value that the variable called `name` held."""
        if name in self.onnx_names:
            self.onnx_names[variable.name] = self.onnx_names[name]

    def visit_call_(self, call: relax.Call) -> Any:
        """A call with a plain result; some read blocked operands all the same."""
        name = getattr(call.op, "name", "")
        data = self._blocked.get(call.args[0]) if call.args else None
        made = None
        if name == "relax.nn.conv2d":
            made = self._to_plain_convolution(call, data)
        elif data is not None and name in SPATIAL_REDUCTIONS:
            made = self._spatial_reduction(call, data)
        elif data is not None and axes_order(call) == TO_LAST:
            made = self.builder_.call_te(
                blocked_to_channels_last, data.variable, primfunc_name_hint="unblock"
            )
        return super().visit_call_(call) if made is None else made

    def visit_dataflow_var_(self, variable: relax.DataflowVar) -> Any:
        known = self._blocked.get(variable)
        if known is None:
            return super().visit_dataflow_var_(variable)
        if variable not in self._plain:
            plain = self.builder_.emit(self._plain_copy(known), name_hint=variable.name)
            self._plain[variable] = plain
            self._same_onnx_name(plain, variable.name)
        return self._plain[variable]

    def _plain_copy(self, value: _Blocked) -> Any:
        batch, blocks, height, width, block = shape_of(value.variable)
        if height == width == 1:  # the same bytes in the same order
            return relax.op.reshape(value.variable, (batch, blocks * block, 1, 1))
        return self.builder_.call_te(unblocked, value.variable, primfunc_name_hint="unblock")

    def _as_blocked(self, call: relax.Call) -> tuple[Any, int] | None:
        """Return the call on blocked operands and its block, None if it must stay plain."""
        name = getattr(call.op, "name", "")
        if name == "relax.nn.conv2d":
            return self._convolution(call)
        operands: Callable[[relax.Call], tuple[Any, int] | None] | None = None
        if name in ELEMENTWISE_UNARY:
            operands = self._unary
        elif name in ELEMENTWISE_BINARY:
            operands = self._binary
        elif name in POOLING:
            operands = self._pooling
        elif name == RESIZE:
            operands = self._resize
        elif name == SLICE:
            operands = self._slice
        elif name == "relax.concat":
            operands = self._concat
        elif axes_order(call) == FROM_LAST:
            operands = self._from_last
        return None if operands is None else operands(call)

    def _convolution(self, call: relax.Call) -> tuple[Any, int] | None:
        sig = conv2d_signature(call)
        if sig is None or constant_array(call.args[1]) is None:
            return None
        block = self._form(sig).block
        if block is None:
            return None
        data = self._blocked.get(call.args[0])
        if sig.is_depthwise:
            return None if data is None else self._depthwise(sig, call.args[1], data)
        source = self.visit_expr(call.args[0]) if data is None else data.variable
        return self._dense_convolution(sig, call.args[1], source, block), block

    def _dense_convolution(
        self, sig: Conv2dSignature, weight: Any, source: Any, block: int | None
    ) -> Any:
        """`source` plain or blocked, the result blocked if `block` says so."""
        compute: Callable[..., Any]
        lanes = conv2d_lanes(
            sig,
            self._lanes,
            scalable=self._vector.scalable,
            by_scalar=self._vector.multiplies_by_scalar,
        )
        in_block = shape_of(source)[4] if len(shape_of(source)) == 5 else None
        grid = None if in_block is None else self._form(sig).grid
        if grid is None and self._bfloats and has_bfloat_form(sig, in_block or 1, lanes):
            packed = self._pack(weight, pack_bfloat_weight, lanes, in_block or 1, dtype="bfloat16")
            compute = partial(bfloat_conv2d, sig=sig, out_block=block)
        elif grid is None:
            together = gcd(in_block or 1, sig.in_channels // sig.groups)
            packed = self._pack(weight, pack_conv2d_weight, sig.groups, lanes, together)
            compute = partial(packed_conv2d, sig=sig, out_block=block)
        else:
            packed = self._pack(weight, winograd_weight, grid.tile, lanes)
            compute = partial(winograd_conv2d, sig=sig, grid=grid, out_block=block)
        name = "conv2d" if grid is None else WINOGRAD_KERNEL
        return self.builder_.call_te(compute, source, packed, primfunc_name_hint=name)

    def _pack(
        self,
        weight: Any,
        pack: Callable[..., np.ndarray],
        *arguments: int,
        dtype: str | None = None,
    ) -> relax.Expr:
        """The constant `weight` as `pack` lays it out, as `dtype` if its numbers are rounded."""

        def make() -> np.ndarray:
            return pack(constant_array(weight), *arguments)

        return self._packed.get(weight, (pack.__name__, *arguments), make, dtype)

    def _depthwise(
        self, sig: Conv2dSignature, weight: Any, data: _Blocked
    ) -> tuple[Any, int] | None:
        if sig.group_out_channels != 1:
            return None
        packed = self._pack(weight, pack_depthwise_weight, data.block)
        compute = partial(blocked_depthwise_conv2d, sig=sig)
        made = self.builder_.call_te(
            compute, data.variable, packed, primfunc_name_hint="depthwise_conv2d"
        )
        return made, data.block

    def _unary(self, call: relax.Call) -> tuple[Any, int] | None:
        data = self._blocked.get(call.args[0])
        others = [constant_array(a) for a in call.args[1:] if isinstance(a.ty, relax.TensorType)]
        if data is None or any(other is None or other.size != 1 for other in others):
            return None
        return self._again(call, [data.variable, *call.args[1:]]), data.block

    def _from_last(self, call: relax.Call) -> tuple[Any, int] | None:
        block = channel_block(shape_of(call)[1], self._lanes)
        if block is None or str(call.ty.dtype) != "float32":
            return None
        compute = partial(channels_last_to_blocked, block=block)
        data = self.visit_expr(call.args[0])
        return self.builder_.call_te(compute, data, primfunc_name_hint="block"), block

    def _binary(self, call: relax.Call) -> tuple[Any, int] | None:
        known = [self._blocked.get(operand) for operand in call.args]
        blocks = {value.block for value in known if value is not None}
        if len(blocks) != 1:
            return None
        block = blocks.pop()
        operands = [
            value.variable if value is not None else self._beside(operand, block)
            for value, operand in zip(known, call.args, strict=True)
        ]
        if any(operand is None for operand in operands):
            return None
        return self._again(call, operands), block

    def _beside(self, operand: Any, block: int) -> Any | None:
        """A constant in a form that broadcasts with blocked data; None for anything else."""
        array = constant_array(operand)
        if array is None:
            return None
        if array.size == 1:
            return relax.const(array.reshape(()))
        shape = (1,) * (4 - array.ndim) + array.shape
        if len(shape) != 4 or shape[0] != 1 or shape[1] % block:
            return None
        split = array.reshape(shape[1] // block, block, *shape[2:])
        return relax.const(np.ascontiguousarray(np.moveaxis(split, 1, -1))[np.newaxis])

    def _pooling(self, call: relax.Call) -> tuple[Any, int] | None:
        data = self._blocked.get(call.args[0])
        if data is None or call.attrs.layout != "NCHW":
            return None
        pool = relax.op.nn.max_pool2d
        more = {}
        if call.op.name == "relax.nn.avg_pool2d":
            pool = relax.op.nn.avg_pool2d
            more = {"count_include_pad": bool(call.attrs.count_include_pad)}
        layout = f"NCHW{data.block}c"
        sizes = {
            name: [int(v) for v in getattr(call.attrs, name)]
            for name in ("pool_size", "strides", "padding", "dilation")
        }
        made = pool(
            data.variable,
            ceil_mode=bool(call.attrs.ceil_mode),
            layout=layout,
            out_layout=layout,
            **sizes,
            **more,
        )
        return made, data.block

    def _to_plain_convolution(self, call: relax.Call, data: _Blocked | None) -> Any | None:
        """With columns in lanes, or of blocked data; the other plain ones are legalized later."""
        sig = conv2d_signature(call)
        if sig is None or constant_array(call.args[1]) is None:
            return None
        vectors = self._form(sig).vectors
        if vectors is not None:
            source = self.visit_expr(call.args[0]) if data is None else data.variable
            return self._columns_convolution(sig, call.args[1], source, vectors)
        if data is None or sig.is_depthwise:
            return None
        return self._dense_convolution(sig, call.args[1], data.variable, None)

    def _columns_convolution(
        self, sig: Conv2dSignature, weight: Any, source: Any, vectors: int
    ) -> Any:
        """`source` plain or blocked, the result plain."""
        packed = self._pack(weight, pack_columns_weight, sig.groups, tap_run(sig))
        compute = partial(columns_conv2d, sig=sig, vectors=vectors, lanes=self._lanes)
        return self.builder_.call_te(compute, source, packed, primfunc_name_hint="conv2d")

    def _resize(self, call: relax.Call) -> tuple[Any, int] | None:
        data = self._blocked.get(call.args[0])
        if data is None or call.attrs.layout != "NCHW":
            return None
        compute = partial(blocked_resize2d, resize=call, block=data.block)
        made = self.builder_.call_te(compute, data.variable, primfunc_name_hint="resize2d")
        return made, data.block

    def _slice(self, call: relax.Call) -> tuple[Any, int] | None:
        data = self._blocked.get(call.args[0])
        made = None if data is None else blocked_slice(call, data.variable)
        return None if data is None or made is None else (made, data.block)

    def _part(self, item: relax.TupleGetItem) -> tuple[Any, int] | None:
        """A part of a split: a slice, so that no tuple holds blocked values."""
        split = self._splits.get(item.tuple_value)
        data = None if split is None else self._blocked.get(split.args[0])
        made = None if data is None else blocked_part(split, int(item.index), data.variable)
        return None if data is None or made is None else (made, data.block)

    def _spatial_reduction(self, call: relax.Call, data: _Blocked) -> Any | None:
        """One number for each plane: [N, C/B, 1, 1, B] are the bytes of [N, C, 1, 1]."""
        axes = call.attrs.axis
        if axes is None or {int(axis) % 4 for axis in axes} != {2, 3}:
            return None
        reduce = getattr(relax.op, call.op.name.removeprefix("relax."))
        blocked = reduce(data.variable, axis=[2, 3], keepdims=True)
        sums = self.builder_.emit(blocked, name_hint=self._name)
        self._same_onnx_name(sums, self._name)
        return relax.op.reshape(sums, call.ty.shape)

    def _concat(self, call: relax.Call) -> tuple[Any, int] | None:
        fields = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else None
        if fields is None or call.attrs.axis is None or int(call.attrs.axis) not in (1, -3):
            return None
        known = [self._blocked[field] for field in fields if field in self._blocked]
        blocks = {value.block for value in known}
        if len(known) != len(fields) or len(blocks) != 1:
            return None
        return relax.op.concat([value.variable for value in known], axis=1), blocks.pop()

    def _again(self, call: relax.Call, operands: list[Any]) -> relax.Call:
        return relax.Call(call.op, operands, call.attrs, call.ty_args)
