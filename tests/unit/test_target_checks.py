"""Facts that are well-formed one by one and cannot all be true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compiler import target_checks as checks
from compiler.errors import TargetError
from compiler.target_schema import parse_spec
from compiler.target_tables import TargetSpec
from tests.unit.target_texts import mcu_tables, x86_tables

Check = Callable[[TargetSpec], None]


def spec_with(tables: dict[str, Any], path: str, value: object) -> TargetSpec:
    """The spec of `tables` with the fact at `path` ("cache.l2_bytes") replaced."""
    *parents, key = path.split(".")
    table = tables
    for parent in parents:
        table = table[parent]
    table[key] = value
    return parse_spec(tables, "test.toml")


X86_REFUSALS: list[tuple[Check, str, object, str, str]] = [
    (
        checks.check_counts_are_positive,
        "cores.count",
        0,
        "[cores] count is 0",
        "it must be at least 1",
    ),
    (
        checks.check_counts_are_positive,
        "cache.l3_bytes",
        -1,
        "[cache] l3_bytes is -1",
        "a size is 0 or more",
    ),
    (
        checks.check_powers_of_two,
        "vector.width_bits",
        384,
        "[vector] width_bits is 384",
        "it must be a power of two",
    ),
    (
        checks.check_powers_of_two,
        "cache.line_bytes",
        48,
        "[cache] line_bytes is 48",
        "it must be a power of two",
    ),
    (
        checks.check_feature_flags,
        "llvm.features",
        ["avx512f"],
        "[llvm] features holds `avx512f`",
        "a feature is switched on by `+name` and off by `-name`",
    ),
    (
        checks.check_vector_width_has_its_feature,
        "vector.width_bits",
        512,
        "[vector] width_bits is 512",
        "512 bits need `avx512f`, which cpu `x86-64-v3` with features [] does not have",
    ),
    (
        checks.check_vector_width_has_its_feature,
        "llvm.features",
        ["-avx2"],
        "[vector] width_bits is 256",
        "256 bits need `avx2`, which cpu `x86-64-v3` with features ['-avx2'] does not have",
    ),
    (
        checks.check_vector_width_has_its_feature,
        "vector.width_bits",
        1024,
        "[vector] width_bits is 1024",
        "x86-64 has 128, 256 and 512",
    ),
    (
        checks.check_x86_register_count,
        "vector.register_count",
        32,
        "[vector] register_count is 32",
        "cpu `x86-64-v3` has 16 vector registers",
    ),
    (
        checks.check_cache_levels_grow,
        "cache.l1d_bytes",
        524_288,
        "[cache] l1d_bytes is 524,288 and l2_bytes is 262,144",
        "a cache level is at least as large as the one inside it (0 means none)",
    ),
    (
        checks.check_cache_levels_grow,
        "cache.l3_bytes",
        1_024,
        "[cache] l2_bytes is 262,144 and l3_bytes is 1,024",
        "a cache level is at least as large as the one inside it (0 means none)",
    ),
    (
        checks.check_microcontroller_has_memory,
        "family",
        "mcu",
        "family is `mcu` and there is no [memory.NAME] of kind `ram`",
        "without an operating system the arena must lie in a named region",
    ),
    (
        checks.check_runner_command,
        "runner",
        {"kind": "emulator"},
        "[runner] kind is `emulator` without `command`",
        "there is nothing to run",
    ),
    (
        checks.check_runner_command,
        "runner",
        {"kind": "native", "command": ["qemu"]},
        "[runner] kind is `native` with a `command`",
        "the command would be ignored",
    ),
    (
        checks.check_runner_board,
        "runner",
        {"kind": "rpc"},
        "[runner] has neither `server` nor `tracker`",
        "a board is reached by its own server or by way of a tracker",
    ),
    (
        checks.check_runner_board,
        "runner",
        {"kind": "rpc", "server": "b:1", "tracker": "t:1", "device_key": "k"},
        "[runner] has `server` and `tracker`",
        "a board is reached by its own server or by way of a tracker",
    ),
    (
        checks.check_runner_board,
        "runner",
        {"kind": "rpc", "server": "hazel"},
        "[runner] has `server` 'hazel'",
        "an address is HOST:PORT, such as 192.168.1.20:9090",
    ),
    (
        checks.check_runner_board,
        "runner",
        {"kind": "rpc", "tracker": "lab:9190"},
        "[runner] has `tracker` without `device_key`",
        "a tracker gives boards by the key of their kind",
    ),
    (
        checks.check_runner_board,
        "runner",
        {"kind": "rpc", "server": "b:1", "device_key": "two words"},
        "[runner] has `device_key` 'two words'",
        "a key is one word",
    ),
    (
        checks.check_runner_board,
        "runner",
        {"kind": "rpc", "server": "b:1", "timeout_s": 0},
        "[runner] has `timeout_s` 0",
        "it must be at least 1",
    ),
    (
        checks.check_runner_command,
        "runner",
        {"kind": "rpc", "server": "b:1", "command": ["qemu"]},
        "[runner] kind is `rpc` with a `command`",
        "the command would be ignored",
    ),
    (
        checks.check_runner_board,
        "runner",
        {"kind": "native", "server": "b:1"},
        "[runner] kind is `native` with `server`",
        "it would be ignored",
    ),
    (
        checks.check_toolchain_has_a_compiler,
        "toolchain.cc",
        [],
        "[toolchain] cc is empty",
        "the library is linked by a C compiler",
    ),
    (
        checks.check_limits_are_positive,
        "limits",
        {"library_bytes": 0},
        "[limits] library_bytes is 0",
        "a limit is at least 1",
    ),
]

MCU_REFUSALS: list[tuple[Check, str, object, str, str]] = [
    (
        checks.check_runner_board,
        "runner",
        {"kind": "rpc", "server": "b:1"},
        "[runner] kind is `rpc` and family is `mcu`",
        "only libraries for processors with an operating system run in TVM's RPC server",
    ),
    (
        checks.check_microcontroller_has_memory,
        "memory.rom.kind",
        "ram",
        "family is `mcu` and there is no [memory.NAME] of kind `flash`",
        "without an operating system the code must lie in a named region",
    ),
    (
        checks.check_counts_are_positive,
        "memory.sram.size_bytes",
        0,
        "[memory.sram] size_bytes is 0",
        "it must be at least 1",
    ),
    (
        checks.check_powers_of_two,
        "memory.sram.align_bytes",
        12,
        "[memory.sram] align_bytes is 12",
        "it must be a power of two",
    ),
    (
        checks.check_regions_do_not_overlap,
        "memory.sram.start_address",
        0x1000_8000,
        "[memory.ccm] and [memory.sram] overlap",
        "the first ends at 0x10010000, the second starts at 0x10008000",
    ),
    (
        checks.check_limits_fit_regions,
        "limits.ram_bytes",
        196_608,
        "[limits] ram_bytes + stack_bytes is 204,800",
        "its memory regions hold 196,608 bytes",
    ),
    (
        checks.check_limits_fit_regions,
        "limits.flash_bytes",
        2_000_000,
        "[limits] flash_bytes is 2,000,000",
        "its memory regions hold 1,048,576 bytes",
    ),
]


@pytest.mark.parametrize(("check", "path", "value", "what", "why"), X86_REFUSALS)
def test_x86_refusals(check: Check, path: str, value: object, what: str, why: str) -> None:
    check(parse_spec(x86_tables(), "test.toml"))
    with pytest.raises(TargetError) as caught:
        check(spec_with(x86_tables(), path, value))
    assert str(caught.value) == (
        f"target birch: {what}\n  why: {why}\n  fix: correct the number in the target's TOML file"
    )


@pytest.mark.parametrize(("check", "path", "value", "what", "why"), MCU_REFUSALS)
def test_mcu_refusals(check: Check, path: str, value: object, what: str, why: str) -> None:
    check(parse_spec(mcu_tables(), "test.toml"))
    with pytest.raises(TargetError) as caught:
        check(spec_with(mcu_tables(), path, value))
    assert (caught.value.what, caught.value.why) == (f"target hazel-m4: {what}", why)


def test_unknown_x86_cpu_names_the_nearest() -> None:
    with pytest.raises(TargetError) as caught:
        checks.check_x86_cpu_is_known(spec_with(x86_tables(), "llvm.cpu", "sapphire-rapids"))
    assert caught.value.what == "target birch: [llvm] cpu `sapphire-rapids` is not known"
    assert caught.value.why == (
        "the features that generated code needs could not be checked when it is loaded"
    )
    assert caught.value.fix.startswith("did you mean `sapphirerapids`? known: broadwell, cascade")


def test_unknown_x86_feature_names_the_nearest() -> None:
    with pytest.raises(TargetError) as caught:
        checks.check_feature_flags(spec_with(x86_tables(), "llvm.features", ["+avx512_vnni"]))
    assert caught.value.what == "target birch: [llvm] feature `+avx512_vnni` is not known"
    assert caught.value.fix.startswith("did you mean `avx512vnni`? known: amx-")


def test_no_other_architecture_has_x86_checks() -> None:
    tables = mcu_tables()
    tables["llvm"]["features"] = ["+anything"]
    spec = parse_spec(tables, "test.toml")
    assert checks.validate(spec) is spec


@pytest.mark.parametrize("refusals", [X86_REFUSALS, MCU_REFUSALS])
def test_validate_runs_every_check(
    refusals: list[tuple[Check, str, object, str, str]],
) -> None:
    tables = x86_tables if refusals is X86_REFUSALS else mcu_tables
    for _, path, value, _, _ in refusals:
        with pytest.raises(TargetError):
            checks.validate(spec_with(tables(), path, value))


@pytest.mark.parametrize(
    ("check", "llvm", "what"),
    [
        (
            checks.check_aarch64_cpu_is_known,
            {"triple": "aarch64-unknown-linux-gnu", "cpu": "cortex-a7x", "features": []},
            "[llvm] cpu `cortex-a7x` is not known",
        ),
        (
            checks.check_feature_flags,
            {"triple": "aarch64-unknown-linux-gnu", "cpu": "generic", "features": ["+svee"]},
            "[llvm] feature `+svee` is not known",
        ),
        (
            checks.check_riscv_has_an_abi,
            {"triple": "riscv64-unknown-linux-gnu", "cpu": "generic-rv64", "features": []},
            "[llvm] has no `abi`",
        ),
    ],
)
def test_arm_and_riscv_facts_that_are_refused(
    check: Check, llvm: dict[str, Any], what: str
) -> None:
    spec = spec_with(x86_tables(), "llvm", llvm)
    with pytest.raises(TargetError) as caught:
        check(spec)
    assert caught.value.what == f"target birch: {what}"


def test_apple_s_name_of_64_bit_arm_is_refused() -> None:
    apple = {"triple": "arm64-apple-macos12.0", "cpu": "apple-m1", "features": []}
    with pytest.raises(TargetError) as caught:
        checks.validate(spec_with(x86_tables(), "llvm", apple))
    assert str(caught.value) == (
        "target birch: [llvm] triple is `arm64-apple-macos12.0`\n"
        "  why: TVM takes arm64, Apple's name of 64-bit Arm, for a 32-bit Arm\n"
        "  fix: write `aarch64-apple-macos12.0`"
    )


def test_scalable_vectors_need_sve() -> None:
    arm = {"triple": "aarch64-unknown-linux-gnu", "cpu": "neoverse-n1", "features": []}
    tables = {**x86_tables(), "llvm": arm}
    spec = spec_with(tables, "vector.scalable", True)
    with pytest.raises(TargetError) as caught:
        checks.check_scalable_vectors_are_sve(spec)
    assert caught.value.what == "target birch: [vector] scalable is true"
    assert caught.value.why == "only SVE is known, and cpu `neoverse-n1` does not have it"
    checks.check_scalable_vectors_are_sve(
        spec_with({**tables, "llvm": {**arm, "cpu": "neoverse-v1"}}, "vector.scalable", True)
    )


def test_only_microcontrollers_choose_how_kernels_are_made() -> None:
    spec = spec_with(x86_tables(), "toolchain.kernels", "llvm")
    with pytest.raises(TargetError) as caught:
        checks.check_kernels_are_of_a_microcontroller(spec)
    assert caught.value.what == "target birch: [toolchain] kernels is given and family is `cpu`"
    checks.check_kernels_are_of_a_microcontroller(
        spec_with(mcu_tables(), "toolchain.kernels", "llvm")
    )


@pytest.mark.parametrize("kernels", ["c", None])
def test_kernels_in_c_have_no_vectors(kernels: str | None) -> None:
    tables = mcu_tables()
    if kernels:
        tables["toolchain"]["kernels"] = kernels
    spec = spec_with(tables, "vector.width_bits", 128)
    with pytest.raises(TargetError) as caught:
        checks.check_vectors_have_llvm_kernels(spec)
    assert caught.value.what.endswith("width_bits is 128 and [toolchain] kernels is not `llvm`")
    tables["toolchain"]["kernels"] = "llvm"
    checks.check_vectors_have_llvm_kernels(spec_with(tables, "vector.width_bits", 128))
