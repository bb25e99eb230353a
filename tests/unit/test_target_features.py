"""Our table of x86 features against LLVM's own."""

from __future__ import annotations

import pytest
from tvm.target import Target, codegen

from compiler.cpu_features import X86_CPUS, X86_FEATURES, apply_feature_flags, needed_by


def llvm_features(cpu: str, *flags: str) -> set[str]:
    """What LLVM says that `cpu` with `flags` has, as far as the table knows it."""
    target = Target(
        {
            "kind": "llvm",
            "mtriple": "x86_64-unknown-linux-gnu",
            "mcpu": cpu,
            "mattr": list(flags),
        }
    )
    return {str(name) for name in codegen.llvm_get_cpu_features(target)} & X86_FEATURES


@pytest.mark.parametrize("cpu", X86_CPUS)
def test_cpu_implies_what_llvm_says(cpu: str) -> None:
    assert X86_CPUS[cpu] == llvm_features(cpu)


@pytest.mark.parametrize("feature", sorted(X86_FEATURES))
def test_switching_on_takes_along_what_llvm_says(feature: str) -> None:
    assert needed_by(feature) == llvm_features("x86-64", f"+{feature}")


@pytest.mark.parametrize("cpu", ["graniterapids", "znver5"])
@pytest.mark.parametrize("feature", sorted(X86_FEATURES))
def test_switching_off_takes_along_what_llvm_says(feature: str, cpu: str) -> None:
    flag = f"-{feature}"
    assert apply_feature_flags(X86_CPUS[cpu], (flag,)) == llvm_features(cpu, flag)


def test_flags_are_read_in_order() -> None:
    for flags in (("+avx512f", "-avx2"), ("-avx2", "+avx512f")):
        assert apply_feature_flags(X86_CPUS["x86-64-v3"], flags) == llvm_features(
            "x86-64-v3", *flags
        )
