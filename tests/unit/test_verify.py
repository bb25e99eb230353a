"""The verdict on right and wrong libraries, and what verification.json says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from onnx import helper

import compiler
from compiler.errors import InputError, VerificationError
from compiler.onnx_import.load import load_model
from compiler.runners.machine import this_machine
from compiler.runners.open_runner import open_runner
from compiler.verification import kernel_check
from compiler.verification.artifact_report import read_report
from compiler.verification.comparison import Tolerance, Unit, compare
from compiler.verification.graph_walk import GraphWalk
from compiler.verification.guarded_block import GuardedBlock
from compiler.verification.kernel_check import KernelCheck, check_kernels, kernel_tolerance
from compiler.verification.result import Decider, Status, Verification
from compiler.verification.verdict import judge
from compiler.verification_inputs import draw_inputs
from compiler.verify import check, require_passed, verify, whole_model_tolerance
from tests import handmade
from tests.checked_artifacts import Case, make_case
from tests.onnx_models import make_model, qdq_model, save


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("right"))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The first layer's weights are off by a hundredth in one column."""
    folder = tmp_path_factory.mktemp("wrong")
    changed = handmade.two_layers(seed=1).constants[1].copy()
    changed[:, 5] *= np.float32(1.01)
    return make_case(folder, {1: changed})


def test_a_right_library_passes(right: Case) -> None:
    result = verify(right.artifact.path, right.path)
    assert result.passed
    assert result.decided_by is Decider.WHOLE_MODEL
    assert [output.name for output in result.outputs] == ["y", "Y copy"]
    assert 0.0 < result.outputs[0].max_relative < 1e-5
    assert result.outputs[1].equal_share == 1.0
    assert result.kernels == ()
    assert result.seeds == (0, 1, 2)
    written = json.loads(right.artifact.verification_path.read_text())
    assert written == result.as_json()
    assert (written["status"], written["inputs"]) == ("passed", "drawn")
    assert written["onnxruntime_version"]


def test_every_kernel_alone(right: Case) -> None:
    result = verify(right.artifact.path, right.model, per_kernel=True)
    assert result.passed
    assert [kernel.passed for kernel in result.kernels] == [True, True, True]
    # ONNX has no value between the second layer and the last kernel.
    assert result.kernels[1].unknown_outputs == (5,)
    assert result.kernels[1].comparisons == ()
    assert result.kernels[2].fed_by == (1,)
    assert result.kernels[0].fed_by == ()


def test_a_wrong_library_names_output_figures_and_first_kernel(wrong: Case) -> None:
    with pytest.raises(VerificationError) as caught:
        verify(wrong.artifact.path, wrong.model)
    assert caught.value.what == "kws: the library does not agree with onnxruntime"
    assert caught.value.why.startswith("output 'y': differs by 0.0")
    assert (
        "kernel 0 dense (MatMul+Add; ONNX nodes: first) is the first that differs: "
        "first: differs by 0.0"
    ) in caught.value.why
    written = json.loads(wrong.artifact.verification_path.read_text())
    assert (written["status"], written["first_differing_kernel"]) == ("failed", 0)
    # The others were given the reference's tensors, so they are right.
    assert [kernel["passed"] for kernel in written["kernels"]] == [False, True, True]


def test_a_kernel_behind_one_that_onnx_cannot_see_is_not_blamed_alone(tmp_path: Path) -> None:
    case = make_case(tmp_path, {3: np.ones((64, 64), np.float32)})
    with pytest.raises(VerificationError) as caught:
        verify(case.artifact.path, case.model)
    assert "kernel 2 center" in caught.value.why
    assert caught.value.why.endswith(
        "it or what feeds it is wrong, for ONNX has no value between it and "
        "kernel 1 dense (MatMul+Add; ONNX nodes: second)"
    )


def test_inputs_that_exercise_nothing(right: Case) -> None:
    """The mean is taken away, so that equal rows and columns of zeros give a constant."""
    zeros = {"in:put": np.zeros((64, 64), np.float32)}
    with pytest.raises(VerificationError) as caught:
        verify(right.artifact.path, right.model, inputs=zeros)
    assert caught.value.what == "kws: the inputs tried do not exercise the model"
    assert caught.value.why == "output 'Y copy' is the same (0, ...) whatever the input"
    assert "--inputs" in caught.value.fix
    written = json.loads(right.artifact.verification_path.read_text())
    assert (written["status"], written["decided_by"]) == ("failed", "nothing")


def test_given_inputs_from_a_file(right: Case, tmp_path: Path) -> None:
    drawn = draw_inputs(right.model, seed=7)
    np.savez(tmp_path / "in.npz", allow_pickle=False, **drawn)
    result = verify(right.artifact.path, right.model, inputs=tmp_path / "in.npz")
    assert (result.inputs, result.seeds, result.passed) == ("in.npz", (), True)


def test_another_model_is_refused(right: Case, tmp_path: Path) -> None:
    other = load_model(save(qdq_model(), tmp_path / "other.onnx"))
    with pytest.raises(InputError, match="was not compiled from this model") as caught:
        verify(right.artifact.path, other)
    assert "of the model: x float32[1, 3, 8, 8]" in caught.value.why


def test_a_library_for_another_cpu_is_not_run(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    manifest = case.artifact.path / "manifest.json"
    text = manifest.read_text().replace("x86_64-unknown-linux-gnu", "riscv64-unknown-linux-gnu")
    manifest.write_text(text)
    result = verify(case.artifact.path, case.model)
    assert result.status is Status.NOT_RUN
    assert "was compiled for riscv64-unknown-linux-gnu" in result.reason
    assert json.loads(case.artifact.verification_path.read_text())["status"] == "not run"


def test_the_module_stands_in_for_the_function_of_its_name(right: Case) -> None:
    """Importing compiler.verify puts the module where ``compiler.verify`` was a function."""
    assert isinstance(compiler.verify, ModuleType)
    assert compiler.verify(right.artifact.path, right.model).passed


def result_with(
    kernels: tuple[KernelCheck, ...], quanta: float, uncertainty: float = 0.0
) -> Verification:
    """A whole-model difference of some quanta, or none."""
    tolerance = Tolerance(unit=Unit.QUANTA, limit=2, quantum=1.0)
    output = compare("y", np.zeros(9, np.int8), np.full(9, quanta, np.int8), tolerance)
    return Verification(
        status=Status.FAILED,
        reason="",
        decided_by=Decider.WHOLE_MODEL,
        outputs=(output,),
        kernels=kernels,
        inputs="drawn",
        seeds=(0,),
        reference_uncertainty=uncertainty,
        onnxruntime_version="1",
        machine=this_machine(),
    )


def kernel(problem: str = "") -> KernelCheck:
    return KernelCheck(
        index=0,
        kernel="conv",
        operator="Conv",
        onnx_nodes=("c",),
        comparisons=(),
        fed_by=(),
        unknown_outputs=(),
        problem=problem,
    )


def test_outputs_that_differ_are_no_rounding_if_no_kernel_was_checked() -> None:
    """A library of a GPU: none of its kernels can be called alone."""
    judged = judge(result_with((), 8), agrees=False, quantized=True)
    assert judged.status is Status.FAILED
    assert judged.reason.endswith("; no kernel was checked alone")


def test_a_deep_quantized_model_is_judged_by_its_kernels() -> None:
    judged = judge(result_with((kernel(),), 8), agrees=False, quantized=True)
    assert (judged.status, judged.decided_by) == (Status.PASSED, Decider.PER_KERNEL)
    assert judged.reason == (
        "every kernel agrees alone; whole model: output 'y': differs by 8 quanta, 2 allowed; "
        "one value on a boundary of two quanta moves all that follow"
    )


def test_a_float_model_is_never_excused_by_what_onnxruntime_is_unsure_of() -> None:
    judged = judge(result_with((kernel(),), 8, 2e-3), agrees=False, quantized=False)
    assert (judged.status, judged.decided_by) == (Status.FAILED, Decider.WHOLE_MODEL)
    assert judged.reason.endswith(
        "onnxruntime differs from itself by 0.002 on these inputs: give steadier ones"
    )


def test_nan_in_the_wrong_place_has_no_excuse() -> None:
    checked = result_with((kernel(),), 8, 2e-3)
    wrong = replace(checked.outputs[0], max_abs=float("inf"))
    judged = judge(replace(checked, outputs=(wrong,)), agrees=False, quantized=True)
    assert judged.status is Status.FAILED


def test_a_quantized_model_with_a_wrong_kernel_fails() -> None:
    checked = result_with((kernel("writes outside its outputs and scratch"),), 8)
    judged = judge(checked, agrees=False, quantized=True)
    assert judged.status is Status.FAILED
    assert "ONNX nodes: c" in judged.reason


def test_a_float_model_whose_kernels_agree_is_joined_wrongly() -> None:
    judged = judge(result_with((kernel(),), 8), agrees=False, quantized=False)
    assert judged.status is Status.FAILED
    assert judged.reason.endswith("every kernel agrees alone, so they are joined wrongly")


def test_a_wrong_kernel_fails_even_if_the_outputs_agree() -> None:
    checked = result_with((kernel("writes outside its outputs and scratch"),), 0)
    judged = judge(checked, agrees=True, quantized=False)
    assert (judged.status, judged.decided_by) == (Status.FAILED, Decider.PER_KERNEL)


def test_a_kernel_that_writes_past_its_output_is_caught(
    right: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = read_report(right.artifact)
    # The artifact says that the output is a row shorter than the kernel writes.
    values = [replace(v, shape=(63, 64)) if v.id == 5 else v for v in report.values]
    monkeypatch.setattr(
        kernel_check, "read_report", lambda _: replace(report, values=tuple(values))
    )
    with open_runner(right.artifact) as runner:
        checks = check_kernels(runner, right.model, draw_inputs(right.model, seed=0))
    assert checks[1].problem == "writes outside its outputs and scratch"
    assert not checks[1].passed


def test_guards_stand_on_both_sides() -> None:
    block = GuardedBlock(8)
    block.fill(np.arange(2, dtype=np.int32))
    assert block.read("int32", (2,)).tolist() == [0, 1]
    assert block.guards_intact
    block._bytes[0] = 0
    assert not block.guards_intact


def test_tolerances_of_a_quantized_model(tmp_path: Path) -> None:
    walk = GraphWalk(load_model(save(qdq_model(), tmp_path / "q.onnx")).proto)
    assert walk.has_quantizers
    tolerance = whole_model_tolerance(walk, "y", "float32")
    assert (tolerance.unit, tolerance.limit) == (Unit.QUANTA, 2)
    assert tolerance.quantum == pytest.approx(0.1)
    # A kernel that ends before the quantizer computes floats, one that holds it rounds.
    given = frozenset({"x_dq"})
    assert kernel_tolerance(walk, "r", "float32", given).unit is Unit.RELATIVE
    rounding = kernel_tolerance(walk, "y", "float32", given)
    assert (rounding.unit, rounding.limit, rounding.equal_share) == (Unit.QUANTA, 1, 0.999)


def test_integer_outputs_count_quanta_only_behind_a_quantizer(tmp_path: Path) -> None:
    proto = qdq_model(integer_ports=True)
    walk = GraphWalk(load_model(save(proto, tmp_path / "q.onnx")).proto)
    assert whole_model_tolerance(walk, "y", "int8").quantum == 1.0
    node = helper.make_node("ArgMax", ["x"], ["y"], name="argmax", axis=1, keepdims=0)
    index = make_model([node], inputs={"x": ("float32", [1, 9])}, outputs={"y": ("int64", [1])})
    walk = GraphWalk(load_model(save(index, tmp_path / "i.onnx")).proto)
    assert whole_model_tolerance(walk, "y", "int64").unit is Unit.EQUAL


def test_a_result_that_was_not_run_is_no_failure() -> None:
    require_passed("x", replace(result_with((), 0), status=Status.NOT_RUN))


def test_check_returns_what_verify_raises(wrong: Case) -> None:
    assert check(wrong.artifact.path, wrong.model).status is Status.FAILED
