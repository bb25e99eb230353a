"""Concatenations and splits of whole models: none is a kernel, and the numbers are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

import compiler
from compiler.joined_storage import without_join_copies
from compiler.program import KernelMemory, Program
from compiler.relax_program import extract_program
from compiler.verify import verify
from tests.joined_models import JOINED_MODELS, early_model
from tests.lowered import loaded, staged
from tests.onnx_models import make_model, save

COPIES = ("concatenate", "split", "strided_slice")


def _program(model: onnx.ModelProto) -> Program:
    read = loaded(model)
    return extract_program(staged(read), read)


def _placed(program: Program) -> Program:
    memory = {call.kernel: KernelMemory() for call in program.calls}
    return without_join_copies(program, memory, may_grow=True)


def _has_copies(program: Program) -> bool:
    return any(copy in call.kernel for call in program.calls for copy in COPIES)


@pytest.mark.parametrize("name", JOINED_MODELS)
def test_no_kernel_copies(name: str) -> None:
    program = _program(JOINED_MODELS[name]())
    assert not _has_copies(_placed(program))


def test_earlier_layers_are_the_first_part_of_the_last_concatenation() -> None:
    program = _placed(_program(JOINED_MODELS["dense"]()))
    of = {value.onnx_name: value for value in program.values}
    assert len({of[name].storage for name in ("f0", "f1", "f2", "f3", "j2", "j3", "all")}) == 1
    assert [of[name].offset_bytes for name in ("j2", "j3", "all")] == [0, 0, 0]
    assert of["f3"].offset_bytes == 3 * of["f0"].size_bytes == 3 * 4 * 16 * 8 * 8


def test_parts_have_no_other_values_name() -> None:
    program = _program(JOINED_MODELS["split"]())
    parts = [value for value in program.values if value.storage != value.id]
    assert [(value.shape[1], value.offset_bytes) for value in parts] == [
        *((8, 0), (8, 2048)),
        *((4, 0), (4, 1024)),
    ]
    assert {value.onnx_name for value in parts} == {
        None
    }  # what the kernels read is found by its place


@pytest.mark.slow
@pytest.mark.parametrize("name", JOINED_MODELS)
def test_joined_models_agree_kernel_by_kernel(name: str, tmp_path: Path) -> None:
    path = save(JOINED_MODELS[name](), tmp_path / "model.onnx")
    artifact = compiler.compile(path, target="host", output=tmp_path / "made", jobs=2)
    report = artifact.report()
    assert not [k for k in report["kernels"] if any(copy in k["kernel"] for copy in COPIES)]
    totals = report["totals"]
    assert totals["arena_bytes"] >= totals["lower_bound_bytes"]
    result = verify(artifact.path, path, per_kernel=True)
    assert result.passed
    assert all(kernel.passed for kernel in result.kernels)
    compared = [kernel.index for kernel in result.kernels if kernel.comparisons]
    assert len(compared) > len(result.kernels) / 2


@pytest.mark.slow
def test_where_memory_is_limited_copies_are_fused_as_ever(tmp_path: Path) -> None:
    path = save(early_model(), tmp_path / "model.onnx")
    arena = {}
    for name, limits in (("free", {}), ("limited", {"ram_bytes": 1 << 30})):
        artifact = compiler.compile(
            path, target="x86-64-v3", output=tmp_path / name, limits=limits, verify="skip"
        )
        report = artifact.report()
        arena[name] = report["totals"]["lower_bound_bytes"]
        joining = [k["kernel"] for k in report["kernels"] if "concatenate" in k["kernel"]]
        assert [kernel.startswith("concatenate_tanh") for kernel in joining] == (
            [] if name == "free" else [True]
        )
    plane = 8 * 8 * 4
    assert arena == {"free": (128 + 256) * plane, "limited": (112 + 256) * plane}


def _one_node(op_type: str, shapes: list[list[int]], results: int, **attributes: Any) -> Program:
    """Element-wise kernels make the operands and read the results of one node."""
    inputs = {f"x{i}": ("float32", shape) for i, shape in enumerate(shapes)}
    nodes = [helper.make_node("Tanh", [name], [f"t{name}"], name=f"t{name}") for name in inputs]
    parts = [f"p{i}" for i in range(results)]
    operands = [f"t{name}" for name in inputs]
    nodes.append(helper.make_node(op_type, operands, parts, name="moved", **attributes))
    outputs = {}
    for part in parts:
        # Read twice, so that it is not computed inside its one reader.
        for number, reader in enumerate(("Softmax", "ReduceMax")):
            made = f"{part}_{number}"
            nodes.append(helper.make_node(reader, [part], [made], name=made))
            outputs[made] = ("float32", None)
    return _program(make_model(nodes, inputs=inputs, outputs=outputs))


def test_along_a_later_axis_elements_do_not_lie_together() -> None:
    for axis, copies in ((0, False), (1, True)):
        program = _one_node("Concat", [[2, 3], [2, 3]], 1, axis=axis)
        assert any(call.joins for call in program.calls) is not copies
        program = _one_node("Split", [[4, 6]], 2, axis=axis, num_outputs=2)
        assert _has_copies(program) is copies


def test_an_axis_behind_ones_only_is_as_good_as_the_first() -> None:
    program = _one_node("Concat", [[1, 1, 3, 5], [1, 1, 2, 5]], 1, axis=2)
    assert not _has_copies(_placed(program))


def test_parts_begin_where_they_lie() -> None:
    program = _one_node("Split", [[1, 7, 2]], 3, axis=1, num_outputs=3)
    offsets = {value.offset_bytes for value in program.values}
    assert offsets == {0, 3 * 2 * 4, 6 * 2 * 4}


def test_an_operand_that_is_an_input_is_copied_with_the_others() -> None:
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"], name="tanh"),
        helper.make_node("Concat", ["x", "t"], ["c"], name="concat", axis=0),
        helper.make_node("Softmax", ["c"], ["y"], name="softmax"),
    ]
    model = make_model(nodes, inputs={"x": ("float32", [4, 4])}, outputs={"y": ("float32", None)})
    program = _program(model)
    assert _placed(program) == program
    assert _has_copies(program)
