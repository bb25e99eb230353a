"""Tables of features of Arm and RISC-V processors, and the check that is made of them."""

from __future__ import annotations

import pytest
from tvm.target import Target, codegen

from compiler.arm_cpu_features import AARCH64_CPUS, AARCH64_FEATURES, aarch64_features
from compiler.artifact.cpu_check import cpu_check_source
from compiler.artifact.cpu_check_hwcap import AARCH64_BITS
from compiler.target_spec import load_target, required_cpu_features
from tests.shipped_targets import APPLE, ARM


@pytest.mark.parametrize("cpu", AARCH64_CPUS)
def test_cpu_implies_what_llvm_says(cpu: str) -> None:
    target = Target({"kind": "llvm", "mtriple": "aarch64-unknown-linux-gnu", "mcpu": cpu})
    features = {str(name) for name in codegen.llvm_get_cpu_features(target)}
    assert AARCH64_CPUS[cpu] == features & AARCH64_FEATURES


def test_flags_are_read_in_order() -> None:
    assert aarch64_features("generic", ("+sve", "-sve", "+dotprod")) == {"dotprod"}


def test_every_feature_can_be_asked_of_linux() -> None:
    assert set(AARCH64_BITS) == AARCH64_FEATURES


@pytest.mark.parametrize("name", [*ARM, *APPLE])
def test_features_of_arm_targets_are_known(name: str) -> None:
    assert set(required_cpu_features(load_target(name))) <= AARCH64_FEATURES


def test_baselines_need_no_check() -> None:
    assert required_cpu_features(load_target("cortex-a53")) == ()
    assert required_cpu_features(load_target("rv64gc")) == ()
    assert required_cpu_features(load_target("rv64gcv")) == ("v",)


def test_check_asks_the_auxiliary_vector() -> None:
    source = cpu_check_source(("sve2", "dotprod"), architecture="aarch64")
    # arch/arm64/include/uapi/asm/hwcap.h: HWCAP_ASIMDDP 1 << 20, HWCAP2_SVE2 1 << 1
    assert '{"dotprod", 16u, 20u},\n    {"sve2", 26u, 1u},' in source
    source = cpu_check_source(("v",), architecture="riscv64")
    assert '{"v", 16u, 21u},' in source
