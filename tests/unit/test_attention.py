"""Which attentions become one kernel, and which tile they get."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from tvm import relax

from compiler.stages.attention import fuse_attention
from compiler.stages.operand_views import View, lies_together
from compiler.stages.operators.attention_tile import AttentionTile, Machine, attention_tiles
from tests.differential.agreement import assert_agrees
from tests.lowered import fixed_spec, loaded, staged
from tests.onnx_models import attention_model, make_model

MACHINE = Machine(lanes=8, registers=16, l1d_bytes=32 * 1024)


def model(
    *between: onnx.NodeProto,
    rows: int = 16,
    axis: int = -1,
    outputs: tuple[str, ...] = ("y",),
    constants: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """``q k`` named `scores`, the nodes between, Softmax of `ready`, times v."""
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["scores" if between else "ready"], name="qk"),
        *between,
        helper.make_node("Softmax", ["ready"], ["shares"], name="softmax", axis=axis),
        helper.make_node("MatMul", ["shares", "v"], ["y"], name="mix"),
    ]
    shapes = {"y": [2, rows, 8], "shares": [2, rows, 12]}
    return make_model(
        nodes,
        inputs={
            "q": ("float32", [2, rows, 4]),
            "k": ("float32", [2, 4, 12]),
            "v": ("float32", [2, 12, 8]),
            "bias": ("float32", [rows, 12]),
        },
        outputs={name: ("float32", shapes[name]) for name in outputs},
        constants=constants,
    )


def kernels(source: onnx.ModelProto) -> list[str]:
    return [gvar.name_hint for gvar in staged(loaded(source), until="legalize").get_global_vars()]


def node(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    *reads, writes = names
    return helper.make_node(kind, reads, [writes], name=f"{kind}_{writes}", **attributes)


FUSED = {
    "plain": model(),
    "scaled": model(
        node("Mul", "scores", "c", "ready"), constants={"c": np.asarray([0.5], np.float32)}
    ),
    "divided": model(
        node("Div", "scores", "c", "ready"), constants={"c": np.asarray(3.0, np.float32)}
    ),
    "masked": model(node("Add", "bias", "scores", "ready")),
    "scaled-and-masked": model(
        node("Mul", "scores", "c", "s"),
        node("Add", "s", "bias", "ready"),
        constants={"c": np.asarray(0.5, np.float32)},
    ),
    "heads": attention_model(),
}
NOT_FUSED = {
    "probabilities are read elsewhere": model(outputs=("y", "shares")),
    "softmax over another axis": model(axis=1),
    "rows would fill too few lanes": model(rows=3),
    "a mask is scaled": model(
        node("Add", "scores", "bias", "s"),
        node("Mul", "s", "c", "ready"),
        constants={"c": np.asarray(0.5, np.float32)},
    ),
    "something else between": model(node("Relu", "scores", "ready")),
}


@pytest.mark.parametrize("kind", FUSED)
def test_one_kernel(kind: str) -> None:
    assert "attention" in kernels(FUSED[kind])


@pytest.mark.parametrize("why", NOT_FUSED)
def test_left_alone(why: str) -> None:
    assert "attention" not in kernels(NOT_FUSED[why])


def test_large_keys_and_values_are_put_together() -> None:
    """Beside their heads they would come from the third cache in pieces for each chunk of rows."""
    assert "gather_heads" in kernels(attention_model(tokens=1500, width=128))
    assert "gather_heads" not in kernels(attention_model(tokens=64))


def test_large_keys_and_values_agree() -> None:
    source = attention_model(tokens=1200, width=64)
    assert_agrees(source, tolerance=1e-5)  # float32 sums of 1200 numbers, weighted by shares


def test_views() -> None:
    source = relax.Var("x", relax.TensorType((1, 6, 4, 8), "float32"))
    same = View(source=source, index=lambda at: [0, *at])
    turned = View(source=source, index=lambda at: [0, at[1], at[0], at[2]])
    part = View(source=source, index=lambda at: [0, at[0] + 3, *at[1:]])
    assert lies_together(same, (6, 4, 8))
    assert not lies_together(turned, (4, 6, 8))
    assert not lies_together(part, (3, 4, 8))
    assert not lies_together(
        View(source=source, index=lambda at: [0, at[0] + 1, *at[1:]]), (6, 4, 8)
    )


def test_module_without_attention_is_returned() -> None:
    mod = staged(loaded(NOT_FUSED["softmax over another axis"]), until="fuse-attention")
    assert fuse_attention(mod, spec=fixed_spec()) is mod


def test_tile_fills_the_registers() -> None:
    tile = attention_tiles(1500, 1500, 64, MACHINE)[0]
    assert tile is not None
    for held in (tile.scores, tile.values):
        assert tile.vectors * held + tile.vectors + 1 <= MACHINE.registers
    assert 1500 % tile.span == 0
    assert tile.span * (tile.vectors * 8 + 64) * 4 <= MACHINE.l1d_bytes


def test_tile_prefers_few_rows_too_many() -> None:
    tile = attention_tiles(49, 49, 32, MACHINE)[0]
    assert tile is not None
    assert tile.vectors == 1  # 56 rows; 2 would be 64


def test_no_tile_for_a_single_row() -> None:
    assert not attention_tiles(1, 1500, 64, MACHINE)


def test_one_span_without_a_cache() -> None:
    machine = Machine(lanes=1, registers=16, l1d_bytes=0)
    tile = attention_tiles(8, 1000, 64, machine)[0]
    assert isinstance(tile, AttentionTile)
    assert tile.span == 1000
