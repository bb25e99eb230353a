"""What TVM is told of a target."""

from __future__ import annotations

from dataclasses import replace

from compiler.target_spec import ToolchainSpec, load_target
from compiler.tvm_target import tvm_target, without_scalable_vectors


def test_loops_of_riscv_see_no_scalable_vectors() -> None:
    whole = tvm_target(load_target("rv64gcv"))
    assert "+v" in whole.export()["mattr"]
    loops = without_scalable_vectors(whole).export()
    assert tuple(loops["mattr"]) == ("+m", "+a", "+f", "+d", "+c")
    assert loops["mabi"] == "lp64d"


def test_other_targets_are_left_as_they_are() -> None:
    for name in ("rv64gc", "neoverse-v1", "x86-64-v3"):
        target = tvm_target(load_target(name))
        assert without_scalable_vectors(target).same_as(target)


def test_kernels_of_a_microcontroller_are_c_unless_its_spec_says_llvm() -> None:
    spec = load_target("cortex-m4f")
    assert tvm_target(spec).kind.name == "c"
    objects = replace(spec, toolchain=ToolchainSpec(cc=("cc",), kernels="llvm"))
    assert tvm_target(objects).kind.name == "llvm"
    assert tvm_target(objects.with_c_kernels()).kind.name == "c"


def test_llvm_is_told_that_the_abi_is_arms() -> None:
    """Else it calls `__fixsfdi` with a float in s0 where libgcc takes it in r0."""
    target = tvm_target(load_target("cortex-m55")).export()
    assert target["mtriple"] == "thumbv8.1m.main-none-unknown-eabihf"
    assert target["mfloat-abi"] == "hard"
    rv32 = load_target("rv32imac")
    rv32 = replace(rv32, toolchain=replace(rv32.toolchain, kernels="llvm"))
    assert tvm_target(rv32).export()["mtriple"] == rv32.llvm.triple
