"""Merging equal kernels, naming them, and the choice of a schedule."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import tvm_ffi
from onnx import helper
from tvm import te
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler import scheduling
from compiler.code_generation import Lowering, build_scheduled
from compiler.errors import LoweringError, UnsupportedError
from compiler.kernels.build import no_code
from compiler.kernels.gpu.build import build_gpu_kernel
from compiler.program import CompiledKernel
from compiler.scheduling import relax_plan_bytes, schedule_kernel, trace_json, workload_hash
from compiler.target_spec import TargetSpec, load_target
from compiler.tuning.store import NO_RECORDS, Records
from compiler.tvm_target import device_target, tvm_target
from schedules.rules import Rule, rules_for
from tests.lowered import fixed_spec, loaded, staged, workloads
from tests.onnx_models import conv_net_model, make_model, weights
from tests.tuning_records import record


def test_equal_kernels_of_different_names_are_one() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="first relu"),
        helper.make_node("MatMul", ["b", "k"], ["c"], name="second"),
        helper.make_node("Relu", ["c"], ["d"], name="second relu"),
        helper.make_node("MatMul", ["d", "w"], ["y"], name="without relu"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [4, 16])},
        outputs={"y": ("float32", [4, 16])},
        constants={"w": weights(16, 16), "k": weights(16, 16, seed=1)},
    )
    found = workloads(model)
    kernels = [call.kernel for call in found.program.calls]
    assert kernels[0] == kernels[1] != kernels[2]
    assert set(found.functions) == set(kernels)
    assert [call.onnx_nodes[0] for call in found.program.calls] == [
        "first",
        "second",
        "without relu",
    ]


def test_kernels_are_named_by_what_they_compute() -> None:
    names = set(workloads(conv_net_model()).functions)
    assert {"matmul_add_float32_1x10", "softmax_float32_1x10"} <= names
    assert all(name.isidentifier() and name.islower() for name in names)


def test_same_name_is_numbered() -> None:
    """Two transposes of one result's shape that are not the same kernel."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["y"], name="one", perm=[1, 0, 2]),
        helper.make_node("Transpose", ["x"], ["z"], name="two", perm=[2, 1, 0]),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [3, 3, 3])},
        outputs={"y": ("float32", [3, 3, 3]), "z": ("float32", [3, 3, 3])},
    )
    assert sorted(workloads(model).functions) == [
        "transpose_float32_3x3x3",
        "transpose_float32_3x3x3_2",
    ]


def _kernel() -> PrimFunc:
    x = te.placeholder((4, 32), "float32", name="x")
    return te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] * 2.0, name="y")])


def _with_rules(monkeypatch: pytest.MonkeyPatch, *rules: Rule) -> None:
    _, fallback = rules_for(fixed_spec())
    monkeypatch.setattr(scheduling, "rules_for", lambda _: (rules, fallback))


def test_first_rule_that_takes_the_kernel_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_rules(
        monkeypatch,
        Rule("never", lambda *_: None),
        Rule("always", lambda func, _: Schedule(func)),
        Rule("too late", lambda func, _: Schedule(func)),
    )
    outcome = schedule_kernel("k", _kernel(), 1, fixed_spec()).outcome
    assert (outcome.source, outcome.name) == ("rule", "always")


def test_rule_whose_steps_fail_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(func: PrimFunc, spec: TargetSpec) -> Schedule | None:
        del spec
        sch = Schedule(func)
        sch.get_sblock("not there")
        return sch

    _with_rules(monkeypatch, Rule("broken", fail), Rule("never", lambda *_: None))
    outcome = schedule_kernel("k", _kernel(), 1, fixed_spec()).outcome
    assert (outcome.source, outcome.name) == ("fallback", "block-by-block")
    assert "broken (failed: " in outcome.reason
    assert "never" in outcome.reason


def test_kernel_that_nothing_schedules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(func: PrimFunc, spec: TargetSpec) -> tuple[Schedule, str]:
        del func, spec
        raise RuntimeError("details\n  no such loop\n")

    monkeypatch.setattr(scheduling, "rules_for", lambda _: ((), fail))
    with pytest.raises(UnsupportedError) as error:
        schedule_kernel("k", _kernel(), 1, fixed_spec())
    assert str(error.value) == (
        "kernel `k` cannot be scheduled\n"
        "  why:   no such loop\n"
        "  fix: report the model: the fallback must take every kernel"
    )


def test_scheduling_twice_gives_the_same() -> None:
    for name, func in workloads(conv_net_model()).functions.items():
        one, other = (schedule_kernel(name, func, 1, fixed_spec()).func for _ in range(2))
        assert tvm_ffi.structural_equal(one, other), name


def test_relaxs_own_plan_holds_at_least_the_largest_value() -> None:
    mod = staged(loaded(conv_net_model()))
    key = tvm_ffi.structural_hash(mod)
    assert relax_plan_bytes(mod, tvm_target(fixed_spec())) >= 2 * np.prod([8, 8, 8]) * 4
    assert tvm_ffi.structural_hash(mod) == key


GPU = load_target("cuda-sm80")


def _virtual_threads_only(func: PrimFunc, spec: TargetSpec) -> Schedule:
    """A schedule that TVM applies and that cannot be launched: no loop is a thread's."""
    del spec
    sch = Schedule(func)
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    sch.bind(sch.get_loops(block)[0], "vthread.x")
    return sch


def _gpu_lowering(*rules: Rule) -> Lowering:
    build = partial(build_gpu_kernel, target=device_target(GPU), functions={})
    return Lowering(target=None, stages=lambda **_: (), build=build, rules=rules)


BROKEN = Rule("broken", _virtual_threads_only)
NOT_LOWERED = "broken (failed: not lowered: the schedule binds no loop to threads)"


def test_schedule_that_cannot_be_lowered_gives_way_to_the_next_rule() -> None:
    def each(func: PrimFunc, spec: TargetSpec) -> Schedule | None:
        return rules_for(spec)[1](func, spec)[0]

    lowering = _gpu_lowering(BROKEN, Rule("never", lambda *_: None), Rule("each", each))
    built = build_scheduled(lowering, "k", _kernel(), 1, GPU, NO_RECORDS)
    outcome = built.schedule
    assert (outcome.source, outcome.name) == ("rule", "each")
    assert outcome.reason == f"no record; {NOT_LOWERED}"
    assert [launch.block for launch in built.launches] == [(128, 1, 1)]


def test_schedule_that_cannot_be_lowered_gives_way_to_the_fallback() -> None:
    outcome = build_scheduled(_gpu_lowering(BROKEN), "k", _kernel(), 1, GPU, NO_RECORDS).schedule
    assert (outcome.source, outcome.name) == ("fallback", "thread-for-each-element")
    assert outcome.reason == f"no record; not for {NOT_LOWERED}"


def test_record_that_cannot_be_lowered_gives_way_to_a_rule() -> None:
    func = _kernel()
    schedule = _virtual_threads_only(func, GPU)
    one = record(1.0, workload=workload_hash(func), trace=trace_json(schedule))
    records = Records(schedules={one.workload: one})
    outcome = build_scheduled(_gpu_lowering(), "k", func, 1, GPU, records).schedule
    assert outcome.source == "fallback"
    assert outcome.reason.startswith(f"record {one.id} cannot be used (not lowered: the ")


def test_fallback_that_cannot_be_lowered_is_refused() -> None:
    def build(*_: Any, **__: Any) -> CompiledKernel:
        raise no_code("k", ValueError("no code for it"))

    lowering = Lowering(target=None, stages=lambda **_: (), build=build, rules=(BROKEN,))
    with pytest.raises(LoweringError) as error:
        build_scheduled(lowering, "k", _kernel(), 1, GPU, NO_RECORDS)
    assert error.value.why == "no code for it"


def test_failed_rule_is_named_where_another_takes_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(func: PrimFunc, spec: TargetSpec) -> Schedule | None:
        del func, spec
        raise RuntimeError("no such loop")

    always = Rule("always", lambda func, _: Schedule(func))
    _with_rules(monkeypatch, Rule("broken", fail), Rule("never", lambda *_: None), always)
    outcome = schedule_kernel("k", _kernel(), 1, fixed_spec()).outcome
    assert outcome.reason == "no record; broken (failed: no such loop)"
