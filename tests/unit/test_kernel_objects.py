"""Kernels of a microcontroller as objects by LLVM: what is in them, what they do not ask for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise

import pytest

from compiler.kernels.build_object import build_object_kernel
from compiler.program import CompiledKernel
from compiler.scheduling import schedule_kernel
from compiler.stages.operators.conv2d import CHANNEL_VECTORS, conv2d_lanes
from compiler.stages.operators.matmul import MatmulSignature, matmul_lanes
from compiler.target_spec import TargetSpec, load_target
from compiler.toolchain import find_toolchain, run_tool
from compiler.tvm_target import tvm_target
from tests import signatures
from tests.lowered import workloads
from tests.onnx_models import conv_net_model

MEMORY_AND_FLOATS = {
    *("__aeabi_memset", "__aeabi_memset4", "__aeabi_memset8", "__aeabi_memclr", "__aeabi_memclr4"),
    *("__aeabi_memclr8", "__aeabi_memcpy", "__aeabi_memcpy4", "__aeabi_memcpy8", "memset"),
}


def _spec(name: str) -> TargetSpec:
    spec = load_target(name)
    if shutil.which(spec.toolchain.cc[0]) is None:
        pytest.skip(f"needs {spec.toolchain.cc[0]}")
    return replace(spec, toolchain=replace(spec.toolchain, kernels="llvm"))


def _kernels(spec: TargetSpec) -> list[CompiledKernel]:
    found = workloads(conv_net_model(), spec)
    target, toolchain = tvm_target(spec), find_toolchain(spec.toolchain.cc)
    kernels = []
    for name, func in found.functions.items():
        count = found.input_counts[name]
        scheduled = schedule_kernel(name, func, count, spec)
        kernels.append(
            build_object_kernel(
                scheduled.func,
                name=name,
                input_count=count,
                outcome=scheduled.outcome,
                target=target,
                toolchain=toolchain,
            )
        )
    return kernels


@pytest.mark.parametrize("name", ["cortex-m55", "cortex-m4f", "rv32imac"])
def test_object_holds_the_kernel_and_nothing_else(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = _spec(name)
    folder = tmp_path_factory.mktemp("objects")
    binutils = find_toolchain(spec.toolchain.cc).ar[0].removesuffix("ar")
    for kernel in _kernels(spec):
        path = folder / f"{kernel.name}.o"
        path.write_bytes(kernel.object_code)
        said = run_tool((f"{binutils}nm", str(path)), folder=None).splitlines()
        kinds = {line.split()[-1]: line.split()[-2] for line in said}
        globals_ = {symbol for symbol, kind in kinds.items() if kind in "TRVW"}
        assert globals_ == {phase.symbol for phase in kernel.phases}
        assert not {symbol for symbol, kind in kinds.items() if kind in "dDbBC"}
        sections = run_tool((f"{binutils}objdump", "-h", str(path)), folder=None)
        assert ".debug" not in sections
        assert kernel.source == ""
        assert kernel.code_bytes > 0


def test_with_an_fpu_a_kernel_calls_nothing_but_memory_functions() -> None:
    for kernel in _kernels(_spec("cortex-m55")):
        assert set(kernel.libm_symbols) <= MEMORY_AND_FLOATS


def test_helium_multiplies_vectors_by_general_registers() -> None:
    spec = _spec("cortex-m55")
    conv = next(k for k in _kernels(spec) if k.name.startswith("conv2d"))
    # VFMA (vector by plus scalar), T1: 1110 1110 x011 nnn1 dddd 1110 x100 mmmm, two half-words.
    code = conv.object_code
    halves = [int.from_bytes(code[i : i + 2], "little") for i in range(0, len(code) - 1, 2)]
    found = sum(a & 0xFFB1 == 0xEE31 and b & 0x1FF0 == 0x0E40 for a, b in pairwise(halves))
    assert found >= 4


@pytest.mark.parametrize(
    ("out_channels", "lanes"), [(16, 4 * CHANNEL_VECTORS), (12, 4), (4, 4), (2, 2)]
)
def test_weights_of_two_vectors_lie_together(out_channels: int, lanes: int) -> None:
    sig = signatures.conv2d(8, out_channels, 6)
    assert conv2d_lanes(sig, 4, by_scalar=True) == lanes
    assert conv2d_lanes(sig, 4) == min(lanes, 4)


@pytest.mark.parametrize(
    ("rows", "columns", "lanes"), [(1, 32, 16), (1, 24, 8), (6, 32, 8), (1, 10, 4), (1, 2, 2)]
)
def test_panels_of_a_product(rows: int, columns: int, lanes: int) -> None:
    sig = MatmulSignature(batch=1, m=rows, n=columns, k=8, shared_right=True)
    assert matmul_lanes(sig, 4, by_scalar=True) == lanes
    assert matmul_lanes(sig, 4) == min(lanes, 4)
