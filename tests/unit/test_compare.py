"""Comparing schedules of a kernel: what each given one becomes, who is ranked, and the texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

import compiler
from compiler.errors import InputError, TargetError
from compiler.measure.comparison import Comparison
from compiler.measure.kernel_list import Kernel
from compiler.measure.tir_text import SideBySide
from compiler.program import CompiledKernel
from compiler.scheduling import trace_json
from compiler.target_spec import TargetSpec, load_target
from compiler.tuner.trial import KernelData, Measured
from compiler.tuning.target_key import target_key
from schedules.cpu.matmul import matmul
from tests import onnx_models, tuning_records
from tests.scripted_runner import ScriptedRunner

PASSED = Measured(outcome="passed", values=(3.0, 2.0, 4.0))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """A matrix product on x86-64-v3, whatever this machine is."""
    path = tmp_path_factory.mktemp("compare") / "dense.onnx"
    onnx_models.save(onnx_models.dense_model(4, 16, 8), path)
    (only,) = compiler.list_kernels(path, target="x86-64-v3")
    return only


@pytest.fixture(autouse=True)
def _no_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted runners look at none, and to draw them takes seconds."""
    none = KernelData(key="none", inputs=(), expected=())
    monkeypatch.setattr("compiler.measure.compare._operands", lambda *_: none)


def plain(func: PrimFunc, spec: TargetSpec) -> Schedule:
    """A rule that takes every kernel and leaves its loops as they are."""
    del spec
    return Schedule(func)


def never(func: PrimFunc, spec: TargetSpec) -> None:
    """A rule for other kernels."""
    del func, spec


def by_schedule(**found: Measured) -> Callable[[CompiledKernel], Measured]:
    """A script by the name of the schedule that a kernel was built with; PASSED if not given."""
    return lambda built: found.get(built.schedule.name, PASSED)


def compared(kernel: Kernel, given: dict[str, Any], **found: Measured) -> Comparison:
    return compiler.compare(kernel, given, runner=ScriptedRunner(by_schedule(**found)))


def test_the_best_one_stands_first(kernel: Kernel) -> None:
    fast = Measured(outcome="passed", values=(1.0, 1.5, 9.0))
    found = compared(kernel, {"plain": plain}, plain=fast)
    table = found.table()
    assert list(table["name"]) == ["plain", "default"]
    assert list(table["rank"]) == [1, 2]
    assert list(table["min"]) == [1.0, 2.0]
    assert list(table["median"]) == [1.5, 3.0]
    assert list(table["to_default"]) == [2.0, 1.0]
    assert list(table["gflops"]) == pytest.approx([2 * 4 * 16 * 8 / 1000, 4 * 16 * 8 / 1000])
    assert (table["code_bytes"] > 0).all()
    assert list(table["schedule"]) == ["rule: plain", "rule: matmul"]
    assert list(table["checked"]) == [True, True]


def test_printed_it_is_the_table(kernel: Kernel) -> None:
    text = repr(compared(kernel, {"plain": plain}))
    assert text.startswith(f"{kernel.name}, 512 multiply-accumulates a call, on x86-64-v3, 1 thr")
    assert text.endswith("a machine made up")
    assert "rule: plain" in text
    assert "reason" not in text  # a column that says nothing here


def test_wrong_numbers_are_named_and_not_ranked(kernel: Kernel) -> None:
    wrong = Measured(outcome="wrong-numbers", values=(0.1,) * 3, reason="output 0 is off by 3")
    runner = ScriptedRunner(by_schedule(plain=wrong))
    found = compiler.compare(kernel, {"plain": plain, "fallback": "fallback"}, runner=runner)
    assert [one.name for one in found.ranking] == ["default", "fallback"]
    row = found.table().set_index("name").loc["plain"]
    assert (row["outcome"], row["reason"]) == ("wrong-numbers", "output 0 is off by 3")
    assert not row["checked"]
    assert row[["rank", "min", "median", "gflops", "to_default"]].isna().all()
    assert runner.turns == [2]  # it takes no turns
    assert "wrong-numbers" in found._repr_html_()


def test_the_fallback_stands_beside_the_default_if_nothing_is_given(kernel: Kernel) -> None:
    found = compiler.compare(kernel, runner=ScriptedRunner(by_schedule()))
    assert [one.variant.schedule for one in found.results] == [
        *("rule: matmul", "fallback: block-by-block"),
    ]


def test_a_rule_that_does_not_take_the_kernel(kernel: Kernel) -> None:
    found = compared(kernel, {"never": never})
    measured = found["never"].measured
    assert (measured.outcome, measured.reason) == (
        "not-built",
        "the rule does not take this kernel",
    )


def test_a_rule_whose_steps_do_not_fit(kernel: Kernel) -> None:
    def misfit(func: PrimFunc, spec: TargetSpec) -> Schedule:
        del spec
        schedule = Schedule(func)
        schedule.get_sblock("no such block")
        return schedule

    found = compared(kernel, {"misfit": misfit})["misfit"].measured
    assert found.outcome == "not-built"
    assert found.reason.startswith("the rule failed: ")


def test_a_bug_in_a_rule_shows_itself(kernel: Kernel) -> None:
    def broken(func: PrimFunc, spec: TargetSpec) -> Schedule:
        raise KeyError("mine", func, spec)

    with pytest.raises(KeyError, match="mine"):
        compared(kernel, {"broken": broken})


def test_a_schedule_as_it_is(kernel: Kernel) -> None:
    schedule = matmul(kernel.task.func, kernel.spec)
    assert schedule is not None
    found = compared(kernel, {"mine": schedule})
    assert found.tir("mine") == found.tir("default")
    assert not str(found.side_by_side("mine", "default"))


def test_a_schedule_of_another_kernel(kernel: Kernel, tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.dense_model(4, 32, 8), tmp_path / "other.onnx")
    (other,) = compiler.list_kernels(path, target="x86-64-v3")
    with pytest.raises(InputError, match="`mine` is a schedule of another kernel"):
        compared(kernel, {"mine": Schedule(other.task.func)})


def test_a_record(kernel: Kernel) -> None:
    record = tuning_records.record(trace=trace_json(Schedule(kernel.task.func)))
    found = compared(kernel, {"mine": record})
    assert found["mine"].variant.schedule == f"record: {record.id}"
    assert found.tir("mine") != found.tir("default")


def test_a_record_that_cannot_be_replayed(kernel: Kernel) -> None:
    measured = compared(kernel, {"mine": tuning_records.record()})["mine"].measured
    assert measured.outcome == "not-built"
    assert "cannot be replayed" in measured.reason


def test_the_record_of_a_folder(kernel: Kernel, tmp_path: Path) -> None:
    key = target_key(load_target("x86-64-v3"), 1)
    trace = trace_json(Schedule(kernel.task.func))
    best = tuning_records.record(1.0, key=key, workload=kernel.task.workload, trace=trace)
    tuning_records.write(tmp_path, best)
    runner = ScriptedRunner(by_schedule())
    found = compiler.compare(kernel, {"record": "record"}, records=tmp_path, runner=runner)
    assert found["record"].variant.schedule == f"record: {best.id}"


def test_no_record_of_the_kernel(kernel: Kernel, tmp_path: Path) -> None:
    runner = ScriptedRunner(by_schedule())
    found = compiler.compare(kernel, {"best": "record"}, records=tmp_path, runner=runner)
    assert found["best"].measured.reason == (
        f"there is no record of workload {kernel.task.workload} for x86-64-v3"
    )


def test_records_without_a_folder(kernel: Kernel) -> None:
    with pytest.raises(InputError, match="there is no record to compare"):
        compared(kernel, {"best": "record"})


@pytest.mark.parametrize(("given", "why"), [("fastest", "`fastest` is none"), (3, "it is a int")])
def test_what_is_no_schedule(kernel: Kernel, given: Any, why: str) -> None:
    with pytest.raises(InputError, match="`mine` is no schedule") as caught:
        compared(kernel, {"mine": given})
    assert why in caught.value.why


def test_what_is_no_kernel() -> None:
    with pytest.raises(InputError, match="there is no kernel to compare schedules of"):
        compiler.compare("model.onnx")


def test_a_function_without_a_model(kernel: Kernel) -> None:
    runner = ScriptedRunner(by_schedule())
    found = compiler.compare(kernel.task.func, target="x86-64-v3", macs=512, runner=runner)
    assert found["default"].variant.schedule == "rule: matmul"
    assert found.gflops("default") == pytest.approx(0.512)
    assert found.kernel.task.constants == (None, None, None)


def test_a_runner_that_was_given_stays_open(kernel: Kernel) -> None:
    runner = ScriptedRunner(by_schedule())
    compiler.compare(kernel, runner=runner)
    assert runner.closed == 0


def test_counted_instructions_are_no_rate(kernel: Kernel) -> None:
    runner = ScriptedRunner(by_schedule(), unit="instructions")
    found = compiler.compare(kernel, runner=runner)
    assert found.table()["gflops"].isna().all()
    with pytest.raises(InputError, match="has no place under a roof"):
        compiler.roofline(found)


def test_a_name_that_is_not_there(kernel: Kernel) -> None:
    with pytest.raises(InputError, match="there is no schedule `other`") as caught:
        compared(kernel, {})["other"]
    assert caught.value.why == "compared were default"


def test_no_text_of_what_has_no_schedule(kernel: Kernel) -> None:
    found = compared(kernel, {"never": never})
    with pytest.raises(InputError, match="`never` has no TIR"):
        found.tir("never")


def test_gpus_are_refused(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.dense_model(), tmp_path / "dense.onnx")
    with pytest.raises(TargetError, match="kernels of cuda-sm80 cannot be measured one by one"):
        compiler.list_kernels(path, target="cuda-sm80")


def test_texts_are_plain_to_read(kernel: Kernel) -> None:
    text = compared(kernel, {}).tir("default")
    assert "T.vectorized(8)" in text
    assert not any(noise in text for noise in ("int64(", "T.reads(", "T.writes("))
    assert not text.startswith("#")


def test_lines_side_by_side() -> None:
    both = SideBySide(names=("a", "b"), texts=("same\none < two\n", "same\nthree\nfour\n"))
    assert both.rows == (
        (" ", "same", " ", "same"),
        ("-", "one < two", "+", "three"),
        (" ", "", "+", "four"),
    )
    assert "one &lt; two" in both._repr_html_()
    assert str(both).splitlines()[3:] == [" same", "-one < two", "+three", "+four"]
