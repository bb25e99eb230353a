"""Finding targets, what they share, and what identifies the code made for them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.artifact.cpu_check import X86_BITS
from compiler.board_address import BoardAddress
from compiler.cpu_features import X86_FEATURES
from compiler.errors import TargetError
from compiler.target_spec import (
    LIMIT_NAMES,
    CacheSpec,
    CoresSpec,
    GpuSpec,
    LimitsSpec,
    LlvmSpec,
    RunnerSpec,
    TargetSpec,
    ToolchainSpec,
    VectorSpec,
    available_targets,
    load_target,
    required_cpu_features,
)
from tests.shipped_targets import SHIPPED, X86
from tests.unit.target_texts import MCU


def test_targets_that_are_shipped() -> None:
    assert available_targets() == ("host", *SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_target_loads_and_says_where_its_numbers_are_from(name: str) -> None:
    spec = load_target(name)
    assert spec.name == name
    assert spec.source
    assert spec.description
    assert spec.lanes(32) == spec.vector.width_bits // 32
    if spec.is_hosted:
        assert spec.arena_align_bytes == (256 if spec.gpu else max(64, spec.cache.line_bytes))


@pytest.mark.parametrize("name", X86)
def test_features_of_x86_targets_are_known(name: str) -> None:
    assert set(required_cpu_features(load_target(name))) <= X86_FEATURES


def test_every_feature_can_be_asked_of_a_cpu() -> None:
    assert set(X86_BITS) >= X86_FEATURES


def test_every_key_is_explained() -> None:
    import target_specs

    text = (Path(target_specs.__path__[0]) / "README.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`(\w+)`", text))
    tables = (
        *(LlvmSpec, VectorSpec, CacheSpec, CoresSpec, GpuSpec),
        *(LimitsSpec, ToolchainSpec, RunnerSpec),
    )
    keys = {key for table in (TargetSpec, *tables) for key in table.__dataclass_fields__}
    region = {"kind", "start_address", "size_bytes", "align_bytes", "rank"}
    assert keys | region | {"inherits"} <= explained


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(TargetError) as caught:
        load_target("icelake")
    assert str(caught.value) == (
        "there is no target `icelake`\n"
        "  why: it is neither a shipped target nor the path of a .toml file\n"
        f"  fix: did you mean `icelake-server`? targets are: host, {', '.join(SHIPPED)} "
        "(`tunesmith targets` explains them)"
    )


def test_name_like_no_other_lists_the_known() -> None:
    with pytest.raises(TargetError) as caught:
        load_target("6502")
    assert caught.value.fix.startswith("targets are: host, ")


@pytest.mark.parametrize("name", ["../x86-64-v3", "", "x86-64-v3/", "."])
def test_name_is_no_path(name: str) -> None:
    with pytest.raises(TargetError, match="there is no target"):
        load_target(name)


def test_file_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "hazel-m4.toml"
    path.write_text(MCU)
    assert load_target(path) == load_target(str(path))
    assert load_target(path).name == "hazel-m4"


def test_file_name_is_the_name(tmp_path: Path) -> None:
    path = tmp_path / "birch.toml"
    path.write_text(MCU)
    with pytest.raises(TargetError) as caught:
        load_target(path)
    assert str(caught.value) == (
        "birch.toml: name is `hazel-m4`\n"
        "  why: a target is found by its file name, so two names would be one target\n"
        "  fix: rename the file to hazel-m4.toml or set name = 'birch'"
    )


def board(folder: Path, parent: str, more: str = "") -> Path:
    path = folder / "board.toml"
    path.write_text(
        f'schema_version = 1\nname = "board"\nsource = "made up"\ninherits = "{parent}"\n{more}'
    )
    return path


def test_board_inherits_from_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "hazel-m4.toml").write_text(MCU)
    spec = load_target(board(tmp_path, "hazel-m4", "[limits]\nram_bytes = 4_096\n"))
    assert (spec.name, spec.source, spec.llvm.cpu) == ("board", "made up", "cortex-m4")
    assert spec.limits.ram_bytes == 4_096  # its own
    assert spec.limits.stack_bytes == 8_192  # the parent's


def test_other_kind_of_runner_inherits_nothing_of_the_parents(tmp_path: Path) -> None:
    """A board in the place of an emulator: the emulator's command is not the board's."""
    runner = '[runner]\nkind = "rpc"\ntracker = "lab.example:9190"\ndevice_key = "rpi4"\n'
    spec = load_target(board(tmp_path, "cortex-a72", runner))
    assert spec.llvm == load_target("cortex-a72").llvm
    assert spec.runner.command == ()
    assert spec.runner.board == BoardAddress(
        tracker="lab.example:9190", device_key="rpi4", timeout_s=60
    )
    other = '[runner]\ncommand = ["qemu-aarch64", "-cpu", "max"]\n'
    spec = load_target(board(tmp_path, "cortex-a72", other))
    assert (spec.runner.kind, spec.runner.command[-1]) == ("emulator", "max")
    assert spec.runner.board is None


def test_board_inherits_from_a_shipped_target(tmp_path: Path) -> None:
    assert load_target(board(tmp_path, "x86-64-v3")).vector.width_bits == 256


def test_name_and_texts_are_not_inherited(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text('schema_version = 1\nname = "board"\ninherits = "x86-64-v3"\n')
    with pytest.raises(TargetError, match="`source` is missing"):
        load_target(path)


@pytest.mark.parametrize("parent", ["oak", "../board"])
def test_unknown_parent_is_named(tmp_path: Path, parent: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(board(tmp_path, parent.replace("board", "ash")))
    assert "which does not exist" in caught.value.what
    assert caught.value.why == "there is no such file beside it and no such shipped target"
    assert caught.value.fix.startswith(f"name one of: {SHIPPED[0]}, ")


def test_parent_that_is_no_text(tmp_path: Path) -> None:
    path = board(tmp_path, "x86-64-v3")
    path.write_text(path.read_text().replace('"x86-64-v3"', "3"))
    with pytest.raises(TargetError, match="`inherits` must be a text"):
        load_target(path)


def test_facts_are_inherited_one_level_deep(tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(board(tmp_path, "znver4"))
    assert str(caught.value) == (
        "board.toml: inherits from `znver4`, which inherits itself\n"
        "  why: facts are shared one level deep, so that a reader opens two files at most\n"
        "  fix: inherit from `x86-64-v4` instead"
    )


def fingerprint(spec: TargetSpec, **changes: Any) -> str:
    known: dict[str, Any] = {"threads": 1, "tvm_version": "0.27.0", "rule_set_version": "1"}
    return spec.fingerprint(**(known | changes))


def test_fingerprint_is_the_same_everywhere() -> None:
    assert fingerprint(load_target("x86-64-v4")) == fingerprint(load_target("x86-64-v4"))
    assert re.fullmatch("[0-9a-f]{64}", fingerprint(load_target("x86-64-v4")))


@pytest.mark.parametrize(
    "change",
    [
        {"llvm": {"triple": "x86_64-pc-windows"}},
        {"llvm": {"cpu": "znver5"}},
        {"llvm": {"features": ("-avx2",)}},
        {"llvm": {"float_abi": "soft"}},
        {"vector": {"width_bits": 256}},
        {"vector": {"register_count": 16}},
        {"cache": {"l1d_bytes": 1}},
        {"cache": {"l2_bytes": 1}},
        {"cache": {"l3_bytes": 1}},
        {"cache": {"line_bytes": 128}},
        {"cores": {"count": 1}},
    ],
)
def test_fingerprint_covers_what_changes_code(change: dict[str, dict[str, Any]]) -> None:
    spec = load_target("x86-64-v4")
    ((table, facts),) = change.items()
    other = replace(spec, **{table: replace(getattr(spec, table), **facts)})
    assert fingerprint(other) != fingerprint(spec)


@pytest.mark.parametrize(
    "change", [{"threads": 2}, {"tvm_version": "1"}, {"rule_set_version": "2"}]
)
def test_fingerprint_covers_threads_and_versions(change: dict[str, Any]) -> None:
    spec = load_target("x86-64-v4")
    assert fingerprint(spec, **change) != fingerprint(spec)


def test_fingerprint_leaves_out_limits_runner_and_names() -> None:
    spec = load_target("x86-64-v4")
    other = replace(
        spec.with_limits(ram_bytes=1),
        name="other",
        source="other",
        description=None,
        runner=RunnerSpec(kind="none"),
        toolchain=ToolchainSpec(cc=("clang",)),
    )
    assert fingerprint(other) == fingerprint(spec)


def test_order_of_features_is_kept_in_the_fingerprint() -> None:
    """LLVM reads flags in order: +avx512f -avx2 has neither, -avx2 +avx512f has both."""
    spec = load_target("x86-64-v3")
    flags = ("+avx512f", "-avx2")
    one, other = (
        replace(spec, llvm=replace(spec.llvm, features=order)) for order in (flags, flags[::-1])
    )
    assert required_cpu_features(one) != required_cpu_features(other)
    assert fingerprint(one) != fingerprint(other)


def test_limits_are_replaced_one_by_one() -> None:
    spec = load_target("x86-64-v4").with_limits(ram_bytes=65_536).with_limits(latency_us=10)
    assert (spec.limits.ram_bytes, spec.limits.latency_us) == (65_536, 10)
    assert "ram_bytes" in LIMIT_NAMES


def test_features_of_another_architecture_are_those_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "hazel-m4.toml"
    path.write_text(MCU)
    assert required_cpu_features(load_target(path)) == ("dsp", "vfp4d16sp")


def test_kernels_by_llvm_change_the_fingerprint_and_c_does_not() -> None:
    spec = load_target("cortex-m4f")
    c = replace(spec, toolchain=replace(spec.toolchain, kernels="c"))
    llvm = replace(spec, toolchain=replace(spec.toolchain, kernels="llvm"))
    assert fingerprint(c) == fingerprint(spec) != fingerprint(llvm)


def test_in_c_each_number_has_a_register() -> None:
    spec = load_target("cortex-m55")
    c = spec.with_c_kernels()
    assert (c.vector.width_bits, c.vector.register_count) == (32, 32)
    assert not c.vector.multiplies_by_scalar
    assert not c.vector.sums_products
    assert not c.has_llvm_kernels
    assert spec.has_llvm_kernels
