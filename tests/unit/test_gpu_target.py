"""Facts about GPUs that do not fit together, and what they change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compiler import target_checks as checks
from compiler.errors import TargetError
from compiler.target_schema import parse_spec
from compiler.target_spec import TargetSpec, load_target
from tests.unit.target_texts import gpu_tables, x86_tables

Check = Callable[[TargetSpec], None]


def _spec(**facts: Any) -> TargetSpec:
    tables = gpu_tables()
    tables["gpu"] |= facts
    return parse_spec(tables, "birch.toml")


REFUSALS: list[tuple[Check, dict[str, Any], str, str]] = [
    (
        checks.check_gpu_arch,
        {"arch": "compute_80"},
        "[gpu] arch is `compute_80`",
        "nvcc calls architectures sm_80, sm_90",
    ),
    (checks.check_gpu_counts, {"sm_count": 0}, "[gpu] sm_count is 0", "it must be at least 1"),
    (checks.check_gpu_counts, {"l2_bytes": -1}, "[gpu] l2_bytes is -1", "it must be at least 1"),
    (
        checks.check_gpu_block_fits_its_sm,
        {"shared_memory_per_block_bytes": 167_937},
        "[gpu] shared_memory_per_block_bytes is 167,937 and shared_memory_per_sm_bytes is 167,936",
        "the first is a part of the second",
    ),
    (
        checks.check_gpu_block_fits_its_sm,
        {"threads_per_block_count": 4_096},
        "[gpu] threads_per_block_count is 4,096 and threads_per_sm_count is 2,048",
        "the first is a part of the second",
    ),
    (
        checks.check_gpu_block_fits_its_sm,
        {"threads_per_block_count": 1_000},
        "[gpu] threads_per_block_count is 1000",
        "a block is whole warps of 32 threads",
    ),
]


@pytest.mark.parametrize(("check", "facts", "what", "why"), REFUSALS)
def test_facts_that_do_not_fit_are_refused(
    check: Check, facts: dict[str, Any], what: str, why: str
) -> None:
    check(_spec())
    with pytest.raises(TargetError) as caught:
        check(_spec(**facts))
    assert caught.value.what == f"target birch: {what}"
    assert caught.value.why == why


def test_family_and_table_belong_together() -> None:
    cpu = parse_spec(x86_tables(), "birch.toml")
    with pytest.raises(TargetError) as caught:
        checks.validate(replace(cpu, family="gpu"))
    assert caught.value.what == "target birch: family is `gpu` and there is no [gpu]"
    with pytest.raises(TargetError) as caught:
        checks.validate(replace(cpu, gpu=_spec().gpu))
    assert caught.value.what == "target birch: family is `cpu` with a [gpu]"


def test_host_programs_have_linux() -> None:
    tables = gpu_tables()
    tables["llvm"]["triple"] = "x86_64-apple-macos12.0"
    with pytest.raises(TargetError) as caught:
        checks.validate(parse_spec(tables, "birch.toml"))
    assert caught.value.what == (
        "target birch: family is `gpu` and [llvm] triple is `x86_64-apple-macos12.0`"
    )
    assert caught.value.why == "host programs for NVIDIA GPUs are made for Linux"


def test_keys_of_the_table_are_checked_like_others() -> None:
    tables = gpu_tables()
    tables["gpu"]["l2_kib"] = tables["gpu"].pop("l2_bytes")
    with pytest.raises(TargetError) as caught:
        parse_spec(tables, "birch.toml")
    assert caught.value.what == "birch.toml: unknown key `l2_kib` in [gpu]: wrong unit"


def test_facts_of_the_gpu_are_in_the_fingerprint() -> None:
    def of(spec: TargetSpec) -> str:
        return spec.fingerprint(threads=1, tvm_version="0", rule_set_version="0")

    names = ("cuda-sm75", "cuda-sm80", "cuda-sm89", "cuda-sm90")
    assert len({of(load_target(name)) for name in names}) == len(names)


def test_compute_capability() -> None:
    gpus = (_spec(arch=arch).gpu for arch in ("sm_75", "sm_90", "sm_120"))
    assert [gpu.compute_capability for gpu in gpus if gpu] == [(7, 5), (9, 0), (12, 0)]
