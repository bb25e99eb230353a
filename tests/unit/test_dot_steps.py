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
from schedules.cpu.dot_step import FOURS, PAIRS, sums_by_steps, sums_registers, sums_vectors

TARGET = tvm_target(load_target("x86-64-v3"))
KINDS = {2: ("int16", "int8"), 4: ("uint8", "int8")}
CHUNKS = 3


def _marked(
    instruction: str,
    lanes: int,
    group: int,
    *,
    weights_by_lane: bool = True,
    rows_by_lane: bool = False,
    scale: int = 1,
) -> PrimFunc:
    """sums[L] of rows[K * G], or [K, L * G], and weights[K, L, G], lanes and products marked."""
    row_kind, weight_kind = KINDS[group]
    shape = (CHUNKS, lanes, group) if weights_by_lane else (CHUNKS, group, lanes)
    width = lanes * group if rows_by_lane else group
    rows = te.placeholder((CHUNKS * width * scale,), row_kind, name="rows")
    weights = te.placeholder(shape, weight_kind, name="weights")
    chunk, inner = te.reduce_axis((0, CHUNKS), "chunk"), te.reduce_axis((0, group), "inner")

    def term(lane: Any) -> Any:
        factor = weights[(chunk, lane, inner) if weights_by_lane else (chunk, inner, lane)]
        place = lane * group + inner if rows_by_lane else inner
        row = rows[(chunk * width + place) * scale]
        return te.sum(row.astype("int32") * factor.astype("int32"), axis=[chunk, inner])

    sums = te.compute((lanes,), term, name="sums")
    sch = s_tir.Schedule(te.create_prim_func([rows, weights, sums]))
    block = sch.get_sblock("sums")
    lane, chunk_loop, inner_loop = sch.get_loops(block)
    sch.reorder(chunk_loop, lane, inner_loop)
    sums_by_steps(sch, block, chunk_loop, (lane, inner_loop), 0, instruction)
    return sch.mod["main"]


ALL = [(name, times * lanes, 2) for lanes, (name, _) in PAIRS.items() for times in (1, 2)]
ALL += [(name, times * lanes, 4) for lanes, (name, _) in FOURS.items() for times in (1, 2)]


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
    if isinstance(expression, tirx.Shuffle):
        joined = np.concatenate([np.atleast_1d(of(vector)) for vector in expression.vectors])
        return joined[[int(index) for index in expression.indices]]
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


@pytest.mark.parametrize("rows_by_lane", [False, True])
@pytest.mark.parametrize(("instruction", "lanes", "group"), ALL)
def test_instruction_computes_the_same(
    instruction: str, lanes: int, group: int, rows_by_lane: bool
) -> None:
    marked = _marked(instruction, lanes, group, rows_by_lane=rows_by_lane)
    lowered = lower_to_loops(marked, TARGET)
    stores: list[Any] = []
    structural.structural_walk(lowered.body, (tirx.BufferStore, stores.append))
    step = stores[-1]
    binds: list[Any] = []
    structural.structural_walk(lowered.body, (tirx.Bind, binds.append))
    loops: list[Any] = []
    structural.structural_walk(lowered.body, (tirx.For, loops.append))
    random = np.random.default_rng(lanes * group)
    row_kind, weight_kind = KINDS[group]
    low, high = (-255, 255) if group == 2 else (0, 255)
    shape = (CHUNKS, lanes if rows_by_lane else 1, group)
    rows = random.integers(low, high, shape, endpoint=True).astype(row_kind)
    weights = random.integers(-128, 127, (CHUNKS, lanes, group), endpoint=True).astype(weight_kind)
    weights[0, 0], rows[0, 0] = -128, low or high  # the largest products there are
    memory = {"rows": rows.reshape(-1), "weights": weights.reshape(-1)}
    memory["sums"] = np.zeros(lanes, np.int32)
    for chunk in range(CHUNKS):
        variables = {loops[-1].loop_var: chunk}
        for bind in binds:  # what the statement shares
            variables[bind.var] = _value(bind.value, memory, variables)
        memory["sums"] = _value(step.value, memory, variables)
    expected = (rows.astype(int) * weights.astype(int)).sum(axis=(0, 2))
    assert memory["sums"].tolist() == expected.tolist()


@pytest.mark.parametrize("wrong", [{"weights_by_lane": False}, {"scale": 2}])
def test_other_places_of_operands_stay_loops(wrong: dict[str, Any]) -> None:
    text = lower_to_loops(_marked(PAIRS[8][0], 8, 2, **wrong), TARGET).script()
    assert "call_llvm" not in text
    assert roles.DOT_STEP not in text


@pytest.mark.parametrize(
    ("target", "lanes", "group", "rows"),
    [
        ("x86-64-v3", 16, 2, "int16"),
        ("x86-64-v4", 16, 2, "int16"),
        ("icelake-server", 16, 4, "uint8"),
        ("sapphire-rapids", 16, 4, "uint8"),
        ("znver4", 16, 4, "uint8"),
        ("rv64gcv", 16, 1, "int8"),
        ("rv64gc", 8, 1, "int8"),
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


def test_a_step_of_more_lanes_takes_several_registers() -> None:
    assert sums_vectors(16, PAIRS[8][0]) == sums_vectors(32, FOURS[16][0]) == 2
    assert sums_vectors(16, None) == 1


def test_products_of_pairs_take_a_register() -> None:
    spec = load_target("x86-64-v3")
    assert sums_registers(spec, PAIRS[8][0]) == 15
    assert sums_registers(spec, FOURS[8][0]) == sums_registers(spec, None) == 16
