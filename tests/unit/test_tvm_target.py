"""What TVM is told of a target."""

from __future__ import annotations

from compiler.target_spec import load_target
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
