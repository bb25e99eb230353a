"""Marked lanes and products that become one instruction: which, and that it computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import s_tir, te, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.passes import lower_to_loops
from compiler.stages.operators.integer_dot import integer_dot
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import roles
from schedules.cpu.dot_step import FOURS, PAIRS, sums_by_steps, sums_registers

TARGET = tvm_target(load_target("x86-64-v3"))
KINDS = {2: ("int16", "int8"), 4: ("uint8", "int8")}
CHUNKS = 3


def _marked(
    instruction: str, lanes: int, group: int, *, weights_by_lane: bool = True, scale: int = 1
) -> PrimFunc:
    """sums[L] of rows[K * G] and weights[K, L, G], lanes and products marked."""
    row_kind, weight_kind = KINDS[group]
    shape = (CHUNKS, lanes, group) if weights_by_lane else (CHUNKS, group, lanes)
    rows = te.placeholder((CHUNKS * group * scale,), row_kind, name="rows")
    weights = te.placeholder(shape, weight_kind, name="weights")
    chunk, inner = te.reduce_axis((0, CHUNKS), "chunk"), te.reduce_axis((0, group), "inner")

    def term(lane: Any) -> Any:
        factor = weights[(chunk, lane, inner) if weights_by_lane else (chunk, inner, lane)]
        row = rows[(chunk * group + inner) * scale]
        return te.sum(row.astype("int32") * factor.astype("int32"), axis=[chunk, inner])

    sums = te.compute((lanes,), term, name="sums")
    sch = s_tir.Schedule(te.create_prim_func([rows, weights, sums]))
    block = sch.get_sblock("sums")
    lane, chunk_loop, inner_loop = sch.get_loops(block)
    sch.reorder(chunk_loop, lane, inner_loop)
    sums_by_steps(sch, block, chunk_loop, (lane, inner_loop), 0, instruction)
    return sch.mod["main"]


ALL = [(name, lanes, 2) for lanes, (name, _) in PAIRS.items()]
ALL += [(name, lanes, 4) for lanes, (name, _) in FOURS.items()]


def _value(expression: Any, memory: dict[str, np.ndarray], variables: dict[Any, int]) -> Any:
    """A vector expression in NumPy; the two instructions as Intel's manual describes them."""

    def of(inner: Any) -> Any:
        return _value(inner, memory, variables)

    if isinstance(expression, tirx.IntImm):
        return int(expression)
    if isinstance(expression, tirx.Var):
        return variables[expression]
    if isinstance(expression, tirx.Ramp):
        return of(expression.base) + np.arange(int(expression.lanes)) * of(expression.stride)
    if isinstance(expression, tirx.Broadcast):
        return np.repeat(np.asarray(of(expression.value)), int(expression.lanes))
    if isinstance(expression, tirx.Add):
        return of(expression.a) + of(expression.b)
    if isinstance(expression, tirx.Mul):
        return of(expression.a) * of(expression.b)
    if isinstance(expression, tirx.Cast):
        return of(expression.value).astype(str(expression.ty.dtype).split("x")[0])
    if hasattr(expression, "source"):
        return memory[str(expression.source.name)][of(expression.indices[0])]
    if expression.op.name == "tirx.reinterpret":
        return of(expression.args[0]).view(str(expression.ty.dtype).split("x")[0])
    return _instruction(expression, of)


def _instruction(call: Any, of: Any) -> np.ndarray:
    assert call.op.name == "tirx.call_llvm_pure_intrin"
    *before, inputs, factors = (of(argument) for argument in list(call.args)[1:])
    group = 4 if before else 2
    assert (inputs.dtype, factors.dtype) == ((np.uint8, np.int8) if before else (np.int16,) * 2)
    products = inputs.astype(np.int64) * factors.astype(np.int64)
    sums = products.reshape(-1, group).sum(axis=1) + sum(before)
    assert np.abs(sums).max() < 2**31
    return np.asarray(sums, np.int32)


@pytest.mark.parametrize(("instruction", "lanes", "group"), ALL)
def test_instruction_computes_the_same(instruction: str, lanes: int, group: int) -> None:
    lowered = lower_to_loops(_marked(instruction, lanes, group), TARGET)
    stores: list[Any] = []
    structural.structural_walk(lowered.body, (tirx.BufferStore, stores.append))
    step = stores[-1]
    loops: list[Any] = []
    structural.structural_walk(lowered.body, (tirx.For, loops.append))
    random = np.random.default_rng(lanes * group)
    row_kind, weight_kind = KINDS[group]
    low, high = (-255, 255) if group == 2 else (0, 255)
    rows = random.integers(low, high, CHUNKS * group, endpoint=True).astype(row_kind)
    weights = random.integers(-128, 127, (CHUNKS, lanes, group), endpoint=True).astype(weight_kind)
    weights[0, 0], rows[:group] = -128, low or high  # the largest products there are
    memory = {"sums": np.zeros(lanes, np.int32), "rows": rows, "weights": weights.reshape(-1)}
    for chunk in range(CHUNKS):
        variables = {loops[-1].loop_var: chunk}
        memory["sums"] = _value(step.value, memory, variables)
    expected = np.einsum("kg,klg->l", rows.reshape(CHUNKS, group).astype(int), weights.astype(int))
    assert memory["sums"].tolist() == expected.tolist()


@pytest.mark.parametrize("wrong", [{"weights_by_lane": False}, {"scale": 2}])
def test_other_places_of_operands_stay_loops(wrong: dict[str, Any]) -> None:
    text = lower_to_loops(_marked(PAIRS[8][0], 8, 2, **wrong), TARGET).script()
    assert "call_llvm" not in text
    assert roles.DOT_STEP not in text


@pytest.mark.parametrize(
    ("target", "lanes", "group", "rows"),
    [
        ("x86-64-v3", 8, 2, "int16"),
        ("x86-64-v4", 16, 2, "int16"),
        ("icelake-server", 16, 4, "uint8"),
        ("sapphire-rapids", 16, 4, "uint8"),
        ("znver4", 16, 4, "uint8"),
        ("rv64gcv", 4, 1, None),
        ("cortex-m0plus", 4, 1, None),
        ("cortex-m4f", 2, 1, "int16"),
        ("cortex-m55", 4, 16, "int8"),
        ("cortex-a72", 16, 8, "int8"),
        ("neoverse-n1", 16, 4, "int8"),
    ],
)
def test_what_targets_are_packed_for(target: str, lanes: int, group: int, rows: str | None) -> None:
    dot = integer_dot(load_target(target))
    assert (dot.group, dot.row_dtype) == (group, rows)
    assert dot.lanes == lanes


def test_products_of_pairs_take_a_register() -> None:
    spec = load_target("x86-64-v3")
    assert sums_registers(spec, PAIRS[8][0]) == 15
    assert sums_registers(spec, FOURS[8][0]) == sums_registers(spec, None) == 16
