"""Kernels as machine code: any split of their work, any alignment, no symbols but libm's."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from tvm import relax, te, tirx
from tvm.relax.backend import DispatchSortScan
from tvm.tirx import PrimFunc

from compiler.errors import UnsupportedError
from compiler.kernels import build
from compiler.kernels.build import build_kernel, refuse_runtime_calls
from compiler.kernels.object_code import undefined_symbols
from compiler.program import ScheduleOutcome
from compiler.tvm_target import tvm_target
from tests.lowered import fixed_spec
from tests.native_kernel import (
    NativeKernel,
    Split,
    build_kernels,
    draw_operands,
    one_by_one_backwards,
    result_types,
    second_half_first,
)
from tests.onnx_models import attention_model, conv_net_model, make_model, weights

MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "convolutions": conv_net_model,
    "attention": attention_model,
}


@pytest.mark.parametrize("split", [one_by_one_backwards, second_half_first])
@pytest.mark.parametrize("model", MODELS)
def test_work_items_run_in_any_order(model: str, split: Split, tmp_path: Path) -> None:
    program, kernels = build_kernels(MODELS[model]())
    for name, kernel in kernels.items():
        native = NativeKernel(kernel, tmp_path)
        operands, types = draw_operands(program, name), result_types(program, name)
        whole = native(operands, types)
        for one, other in zip(whole, native(operands, types, split=split), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("model", MODELS)
def test_pointers_need_only_their_elements_alignment(model: str, tmp_path: Path) -> None:
    program, kernels = build_kernels(MODELS[model]())
    for name, kernel in kernels.items():
        native = NativeKernel(kernel, tmp_path)
        operands, types = draw_operands(program, name), result_types(program, name)
        aligned, odd = native(operands, types), native(operands, types, offset=1)
        for one, other in zip(aligned, odd, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("model", MODELS)
def test_outputs_may_overwrite_the_inputs_they_say(model: str, tmp_path: Path) -> None:
    program, kernels = build_kernels(MODELS[model]())
    pairs = [(name, pair) for name, k in kernels.items() for pair in k.memory.in_place]
    assert pairs
    for name, pair in pairs:
        native = NativeKernel(kernels[name], tmp_path)
        operands, types = draw_operands(program, name), result_types(program, name)
        apart = native(operands, types)
        over = native(operands, types, in_place=pair, split=one_by_one_backwards)
        np.testing.assert_array_equal(apart[0], over[0], err_msg=name)


FUNCTIONS = ("Acos", "Asinh", "Cosh", "Erf", "Exp", "Log", "Pow", "Sin", "Sinh", "Softplus", "Tan")


def test_objects_need_the_c_library_only() -> None:
    nodes = [
        helper.make_node(
            op_type, ["x", "x"] if op_type == "Pow" else ["x"], [f"y{number}"], name=op_type
        )
        for number, op_type in enumerate(FUNCTIONS)
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [3, 11])},
        outputs={f"y{number}": ("float32", None) for number in range(len(nodes))},
    )
    libm = ctypes.CDLL("libm.so.6")
    _, kernels = build_kernels(model)
    needed: set[str] = set()
    for kernel in kernels.values():
        assert all(hasattr(libm, symbol) for symbol in kernel.libm_symbols), kernel.libm_symbols
        memory = {"memcpy", "memset", "memmove"}
        assert set(undefined_symbols(kernel.object_code)) <= memory | set(kernel.libm_symbols)
        needed.update(kernel.libm_symbols)
    assert {"coshf", "sinhf"} <= needed


def test_symbols_start_with_the_kernels_name() -> None:
    _, kernels = build_kernels(attention_model(), fixed_spec())
    for name, kernel in kernels.items():
        assert all(phase.symbol.startswith(name) for phase in kernel.phases)
        assert kernel.code_bytes > 0


def _build(func: PrimFunc) -> None:
    build_kernel(
        func,
        name="bad",
        input_count=1,
        outcome=ScheduleOutcome(source="fallback", name="test"),
        target=tvm_target(fixed_spec()),
    )


def _calls_the_runtime() -> PrimFunc:
    x = te.placeholder((4,), "float32", name="x")
    y = te.extern(
        x.shape, [x], lambda ins, outs: tirx.call_packed("tvm.contrib.topk", ins[0], outs[0])
    )
    return te.create_prim_func([x, y])


def test_kernel_that_calls_the_runtime_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError) as error:
        _build(_calls_the_runtime())
    assert str(error.value) == (
        "kernel `bad` calls `tvm.contrib.topk` of TVM's runtime library\n"
        "  why: a stand-alone library has no TVM at run time\n"
        "  fix: replace the operator in the model; `tunesmith inspect` lists what is supported"
    )


def test_sorting_kernels_of_the_importer_are_refused() -> None:
    """TopK, if it came this far: its TIR is a packed call."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((3, 10), "float32"))
    with builder.function("main", [x]):
        result = builder.emit(relax.op.topk(x, k=2, axis=1))
        builder.emit_func_output(result)
    with tvm_target(fixed_spec()):
        mod = DispatchSortScan()(builder.get())
    functions = [f for gvar, f in mod.functions_items() if gvar.name_hint != "main"]
    assert functions
    for func in functions:
        with pytest.raises(UnsupportedError, match=r"calls `tvm\.contrib\.sort\.topk`"):
            refuse_runtime_calls(func, "topk")


def test_kernel_without_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Traceback\n\nCheck failed: unknown intrinsic tirx.cosh\n")

    monkeypatch.setattr(build, "lower_to_loops", fail)
    x = te.placeholder((4,), "float32", name="x")
    with pytest.raises(UnsupportedError) as error:
        _build(te.create_prim_func([x, te.compute((4,), lambda i: x[i] + 1.0)]))
    assert str(error.value) == (
        "no machine code can be made for kernel `bad`\n"
        "  why: Check failed: unknown intrinsic tirx.cosh\n"
        "  fix: replace the operators in its name in the model, and report the model"
    )


def test_wide_kernel_has_no_more_lanes_than_the_target() -> None:
    """A dense layer of fewer columns than a vector still compiles: narrower panels."""
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")],
        inputs={"x": ("float32", [5, 4])},
        outputs={"y": ("float32", [5, 3])},
        constants={"w": weights(4, 3)},
    )
    program, kernels = build_kernels(model, fixed_spec())
    packed = next(array for array in program.constants.values() if array.ndim == 4)
    assert packed.shape[-1] == 4
    assert len(kernels) == 1
