"""What each rule does not take, and that no rule writes into the kernel it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import pytest
import tvm_ffi
from onnx import helper
from tvm import te, topi
from tvm.tirx import PrimFunc

from compiler.stages.operators import matmul, rows
from compiler.stages.operators.attention import AttentionShape, attention
from compiler.stages.operators.attention_tile import AttentionTile
from compiler.stages.operators.conv2d import packed_conv2d
from compiler.stages.operators.conv2d_columns import columns_conv2d
from compiler.stages.operators.conv2d_transpose import (
    Conv2dTransposeSignature,
    phased_conv2d_transpose,
)
from compiler.stages.operators.depthwise_conv2d import blocked_depthwise_conv2d, depthwise_conv2d
from compiler.stages.operators.winograd import TileGrid, winograd_conv2d
from tests import signatures
from tests.lowered import apply_fallback, apply_rule, fixed_spec, only_kernel, workloads
from tests.onnx_models import attention_model, conv_net_model, make_model

CONV = signatures.conv2d(3, 16, 6)
DEPTHWISE = signatures.conv2d(8, 8, 6, width=8, groups=8)
TRANSPOSE = Conv2dTransposeSignature(
    batch=1,
    in_channels=3,
    height=4,
    width=4,
    out_channels=4,
    kernel=(3, 3),
    strides=(2, 2),
    pads=(1, 1),
    out_extent=(8, 8),
)
PRODUCT = matmul.MatmulSignature(batch=1, m=6, n=16, k=4, shared_right=True)


def _placeholders(*shapes: tuple[int, ...]) -> list[te.Tensor]:
    return [te.placeholder(shape, "float32", name=f"in{i}") for i, shape in enumerate(shapes)]


def _conv2d() -> tuple[list[te.Tensor], te.Tensor]:
    data, weight = _placeholders((1, 3, 6, 6), (1, 2, 3, 3, 3, 1, 8))
    return [data, weight], packed_conv2d(data, weight, CONV)


def _columns() -> tuple[list[te.Tensor], te.Tensor]:
    """5 output channels, rows of 10 columns in 2 vectors, strides of 2."""
    data, weight = _placeholders((1, 3, 6, 20), (1, 3, 3, 1, 3, 5))
    sig = replace(CONV, out_channels=5, width=20, strides=(2, 2))
    return [data, weight], columns_conv2d(data, weight, sig, 2, 8)


def _depthwise() -> tuple[list[te.Tensor], te.Tensor]:
    data, weight = _placeholders((1, 8, 6, 8), (8, 3, 3))
    return [data, weight], depthwise_conv2d(data, weight, DEPTHWISE, 8)


def _blocked_depthwise() -> tuple[list[te.Tensor], te.Tensor]:
    data, weight = _placeholders((1, 1, 6, 8, 8), (1, 3, 3, 8))
    return [data, weight], blocked_depthwise_conv2d(data, weight, DEPTHWISE)


def _transpose() -> tuple[list[te.Tensor], te.Tensor]:
    # 4 channels x 2 x 2 phases are 2 blocks of 8 lanes; a phase has 2 x 2 of the 3 x 3 taps.
    data, weight = _placeholders((1, 3, 4, 4), (1, 2, 3, 2, 2, 1, 8))
    return [data, weight], phased_conv2d_transpose(data, weight, TRANSPOSE)


def _matmul() -> tuple[list[te.Tensor], te.Tensor]:
    left, panels = _placeholders((6, 4), (1, 2, 4, 8))
    return [left, panels], matmul.packed_matmul(left, panels, PRODUCT, (6, 16))


def _attention() -> tuple[list[te.Tensor], te.Tensor]:
    """11 rows in chunks of 8, 7 positions in spans of 4, columns beside heads."""
    query, key, value = _placeholders((2, 11, 4), (2, 7, 4), (2, 7, 6))
    shape = AttentionShape(
        batch=(2,), rows=11, positions=7, depth=4, columns=6, scale=0.5, order=(1, 0, 2)
    )
    tile = AttentionTile(vectors=1, scores=4, values=6, span=4)
    operands = [query, key, value]
    return operands, attention(
        operands, shape=shape, tile=tile, lanes=8, indices=[list] * 3, masks=[]
    )


def _softmax() -> tuple[list[te.Tensor], te.Tensor]:
    (data,) = _placeholders((6, 16))
    return [data], rows.softmax_rows(data, 8)


def _winograd() -> tuple[list[te.Tensor], te.Tensor]:
    data, weight = _placeholders((1, 2, 6, 6, 8), (4, 4, 2, 16, 8))
    sig = replace(CONV, in_channels=16)
    grid = TileGrid(tile=2, chunks=(3, 1), chunk=(1, 3))
    return [data, weight], winograd_conv2d(data, weight, sig, grid)


OPERATORS: dict[str, Callable[[], tuple[list[te.Tensor], te.Tensor]]] = {
    "attention": _attention,
    "conv2d": _conv2d,
    "conv2d-columns": _columns,
    "conv2d-transpose": _transpose,
    "blocked-depthwise-conv2d": _blocked_depthwise,
    "depthwise-conv2d": _depthwise,
    "winograd": _winograd,
    "matmul": _matmul,
    "rows": _softmax,
}


def _kernel(inputs: list[te.Tensor], *outputs: te.Tensor) -> PrimFunc:
    return te.create_prim_func([*inputs, *outputs])


def _taken(operator: str) -> PrimFunc:
    inputs, out = OPERATORS[operator]()
    return _kernel(inputs, te.compute(out.shape, lambda *i: out[i] * 2.0, name="twice"))


def _summed(operator: str) -> PrimFunc:
    """The sum over the last axis instead of an element-wise epilogue."""
    inputs, out = OPERATORS[operator]()
    axis = te.reduce_axis((0, out.shape[-1]), "axis")
    total = te.compute(out.shape[:-1], lambda *i: te.sum(out[(*i, axis)], axis=axis), name="total")
    return _kernel(inputs, total)


def _two_readers(operator: str) -> PrimFunc:
    """Two blocks read what the operator computes, so neither is the only epilogue."""
    inputs, out = OPERATORS[operator]()
    once = te.compute(out.shape, lambda *i: out[i] + 1.0, name="once")
    twice = te.compute(out.shape, lambda *i: out[i] * 2.0, name="twice")
    return _kernel(inputs, once, twice)


@pytest.mark.parametrize("operator", OPERATORS)
def test_rule_takes_its_operator(operator: str) -> None:
    assert apply_rule(operator, _taken(operator)) is not None


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("near_miss", [_summed, _two_readers])
def test_rule_leaves_near_misses(operator: str, near_miss: Callable[[str], PrimFunc]) -> None:
    func = near_miss(operator)
    assert apply_rule(operator, func) is None
    _, nest = apply_fallback(func)
    assert nest in ("row-wise", "tile", "block-by-block")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("other", OPERATORS)
def test_rule_leaves_other_operators(operator: str, other: str) -> None:
    assert (apply_rule(operator, _taken(other)) is None) == (operator != other)


def test_conv2d_rule_leaves_a_convolution_in_plain_layout() -> None:
    data, weight = _placeholders((1, 3, 12, 12), (8, 3, 3, 3))
    func = _kernel([data, weight], topi.nn.conv2d(data, weight, 1, 1, 1))
    assert apply_rule("conv2d", func) is None
    assert apply_fallback(func)[1] == "tile"


@pytest.mark.parametrize(("cores", "rows_in_parallel"), [(1, 7), (2, 28)])
def test_tiles_of_channels_share_padded_rows(cores: int, rows_in_parallel: int) -> None:
    """One core pads each row once; several cores also share the channels of seven rows."""
    data, weight = _placeholders((1, 3, 7, 7), (1, 16, 3, 3, 3, 1, 8))
    out = packed_conv2d(data, weight, signatures.conv2d(3, 128, 7))
    schedule = apply_rule("conv2d", _kernel([data, weight], out), fixed_spec().with_cores(cores))
    assert schedule is not None
    assert f"T.parallel({rows_in_parallel})" in schedule.mod["main"].script()


def test_strided_pointwise_convolution_copies_what_it_reads_once() -> None:
    data, weight = _placeholders((1, 4, 9, 9, 8), (1, 16, 4, 1, 1, 8, 8))
    sig = signatures.conv2d(32, 128, 9, kernel=(1, 1), strides=(2, 2), pads=(0, 0, 0, 0))
    out = packed_conv2d(data, weight, sig, out_block=8)
    schedule = apply_rule("conv2d", _kernel([data, weight], out))
    assert schedule is not None
    copy = schedule.get_sblock("sampled")
    assert len(schedule.get_loops(copy)) == 4  # blocks, rows, columns, lanes: no tile outside


def test_columns_rule_wants_rows_made_for_it() -> None:
    """Its vectors read beyond the row, so the input itself will not do."""
    rows, weight = _placeholders((1, 3, 8, 1, 18), (1, 3, 3, 3, 1, 5))
    taps = [te.reduce_axis((0, 3), name) for name in ("channel", "tap_y", "tap_run")]
    out = te.compute(
        (1, 1, 5, 6, 2, 8),
        lambda n, g, o, y, v, lane: te.sum(
            rows[n, taps[0], y + taps[1], 0, v * 8 + lane + taps[2]]
            * weight[g, taps[0], taps[1], taps[2], 0, o],
            axis=taps,
        ),
        attrs={"tunesmith.role": "conv2d-columns"},
    )
    copied = te.compute((1, 5, 6, 16), lambda n, o, y, x: out[n, 0, o, y, x // 8, x % 8])
    assert apply_rule("conv2d-columns", _kernel([rows, weight], copied)) is None


def test_winograd_rule_takes_a_convolution_without_padding() -> None:
    data, weight = _placeholders((1, 2, 8, 8, 8), (4, 4, 2, 16, 8))
    sig = replace(CONV, in_channels=16, height=8, width=8, pads=(0, 0, 0, 0))
    grid = TileGrid(tile=2, chunks=(3, 1), chunk=(1, 3))
    out = winograd_conv2d(data, weight, sig, grid)
    twice = te.compute(out.shape, lambda *i: out[i] * 2.0, name="twice")
    assert apply_rule("winograd", _kernel([data, weight], twice)) is not None


@pytest.mark.parametrize("channels", [58, 116, 12, 44])
@pytest.mark.parametrize("plane", [(28, 28), (14, 14), (7, 9)])
def test_conv2d_rule_takes_channels_that_end_inside_a_block(
    channels: int, plane: tuple[int, int]
) -> None:
    """Also where the positions have a tail, and where several blocks are a tile."""
    data, weight = _placeholders((1, 8, *plane), (1, -(-channels // 8), 8, 1, 1, 1, 8))
    height, width = plane
    sig = replace(
        CONV,
        in_channels=8,
        out_channels=channels,
        height=height,
        width=width,
        kernel=(1, 1),
        pads=(0, 0, 0, 0),
    )
    out = packed_conv2d(data, weight, sig)
    twice = te.compute(out.shape, lambda *i: out[i] * 2.0, name="twice")
    assert apply_rule("conv2d", _kernel([data, weight], twice)) is not None


def test_depthwise_rule_wants_rows_padded_for_it() -> None:
    """Its vectors read beyond the row, so the input itself will not do."""
    rows, weight = _placeholders((1, 8, 8, 1, 10), (8, 3, 3))
    taps = [te.reduce_axis((0, 3), name) for name in ("tap_y", "tap_x")]
    out = te.compute(
        (1, 8, 6, 8),
        lambda n, o, y, x: te.sum(
            rows[n, o, y + taps[0], 0, x + taps[1]] * weight[o, taps[0], taps[1]], axis=taps
        ),
        attrs={"tunesmith.role": "depthwise-conv2d"},
    )
    copied = te.compute(out.shape, lambda *i: out[i], name="unpack")
    assert apply_rule("depthwise-conv2d", _kernel([rows, weight], copied)) is None


@pytest.mark.parametrize("rows", [(2, 7), (3, 3, 5), (4, 1, 49)])
def test_matmul_rule_takes_rows_on_several_axes(rows: tuple[int, ...]) -> None:
    """The tile of rows may cross the end of the last of them."""
    left, panels = _placeholders((*rows, 4), (1, 2, 4, 8))
    sig = matmul.MatmulSignature(batch=1, m=prod(rows), n=16, k=4, shared_right=True)
    product = matmul.packed_matmul(left, panels, sig, (*rows, 16))
    twice = te.compute(product.shape, lambda *i: product[i] * 2.0, name="twice")
    assert apply_rule("matmul", _kernel([left, panels], twice)) is not None


def _one_node(op_type: str, **attributes: Any) -> PrimFunc:
    shape = [2, 4, 6, 8]
    model = make_model(
        [helper.make_node(op_type, ["x"], ["y"], name="node", **attributes)],
        inputs={"x": ("float32", shape)},
        outputs={"y": ("float32", None)},
    )
    return only_kernel(model)


@pytest.mark.parametrize(
    ("op_type", "attributes", "nest"),
    [
        ("LogSoftmax", {"axis": -1}, "row-wise"),
        ("Softmax", {"axis": 1}, "block-by-block"),  # its sums are not along memory
        ("ReduceSum", {"keepdims": 0}, "block-by-block"),  # ends with a reduction: no row after it
        ("GlobalMaxPool", {}, "block-by-block"),  # reduces along memory: a dot, not a tile
        ("MaxPool", {"kernel_shape": [2, 2]}, "tile"),
        ("Relu", {}, "block-by-block"),  # nothing to keep in registers
    ],
)
def test_nest_of_the_fallback(op_type: str, attributes: dict[str, Any], nest: str) -> None:
    assert apply_fallback(_one_node(op_type, **attributes))[1] == nest


def test_function_without_blocks_keeps_its_loops() -> None:
    model = make_model(
        [helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], name="scatter")],
        inputs={
            "x": ("float32", [4, 4]),
            "i": ("int64", [2, 4]),
            "u": ("float32", [2, 4]),
        },
        outputs={"y": ("float32", [4, 4])},
    )
    functions = workloads(model).functions
    func = next(func for name, func in functions.items() if "scatter" in name)
    schedule, nest = apply_fallback(func)
    assert nest == "as-written"
    assert tvm_ffi.structural_equal(schedule.mod["main"].body, func.body)


@pytest.mark.parametrize("model", [conv_net_model, attention_model])
def test_scheduling_leaves_the_kernel_as_it_was(model: Callable[[], object]) -> None:
    for func in workloads(model()).functions.values():  # type: ignore[arg-type]  # a ModelProto
        text, key = func.script(show_meta=True), tvm_ffi.structural_hash(func)
        for rule in OPERATORS:
            apply_rule(rule, func)
        apply_fallback(func)
        assert func.script(show_meta=True) == text
        assert tvm_ffi.structural_hash(func) == key


def test_fallback_shares_outer_loops_and_keeps_inner_ones() -> None:
    """One loop over all of them would divide its index for each vector."""
    data, scale = _placeholders((1, 16, 9, 11, 8), (1, 16, 1, 1, 8))
    out = te.compute(data.shape, lambda n, c, y, x, b: data[n, c, y, x, b] * scale[n, c, 0, 0, b])
    schedule, nest = apply_fallback(_kernel([data, scale], out))
    assert nest == "block-by-block"
    (block,) = schedule.get_child_blocks(schedule.get_sblock("root"))
    extents = [int(schedule.get(loop).extent) for loop in schedule.get_loops(block)]
    assert extents == [16 * 9, 11, 1, 8]  # 4 cores times 8 parts are reached with the rows
