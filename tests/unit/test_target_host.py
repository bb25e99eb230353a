"""`host` on machines that are described by made-up /proc and /sys trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.cpu_features import CPUINFO_FLAGS, X86_CPUS
from compiler.errors import TargetError
from compiler.host_target import host_cpu_features, host_target
from compiler.target_checks import validate
from compiler.target_spec import (
    TargetSpec,
    load_target,
    missing_cpu_features,
    required_cpu_features,
)

CACHES = (("Data", 1, "48K"), ("Instruction", 1, "32K"), ("Unified", 2, "2048K"))


def machine(
    folder: Path,
    features: frozenset[str],
    *,
    processor: tuple[str, int, int] = ("GenuineIntel", 6, 1),
    caches: tuple[tuple[str, int, str], ...] = (*CACHES, ("Unified", 3, "105M")),
) -> TargetSpec:
    vendor, family, model = processor
    flags = " ".join(CPUINFO_FLAGS[name] for name in sorted(features))
    one = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nflags\t\t: {flags}\n"
    (folder / "cpuinfo").write_text(f"processor\t: 0\n{one}\nprocessor\t: 1\n{one}\n")
    for index, (kind, level, size) in enumerate(caches):
        cache = folder / "cpu0" / "cache" / f"index{index}"
        cache.mkdir(parents=True)
        facts = {"type": kind, "level": str(level), "size": size, "coherency_line_size": "64"}
        for name, text in facts.items():
            (cache / name).write_text(text + "\n")
    return validate(
        host_target(cpuinfo=folder / "cpuinfo", cpu_folder=folder, machine="x86_64", system="Linux")
    )


@pytest.mark.parametrize(
    ("vendor", "family", "model", "cpu"),
    [
        ("AuthenticAMD", 23, 0x01, "znver1"),
        ("AuthenticAMD", 23, 0x31, "znver2"),
        ("AuthenticAMD", 25, 0x01, "znver3"),
        ("AuthenticAMD", 25, 0x11, "znver4"),
        ("AuthenticAMD", 25, 0x61, "znver4"),
        ("AuthenticAMD", 25, 0xA0, "znver4"),
        ("AuthenticAMD", 26, 0x02, "znver5"),
        ("GenuineIntel", 6, 85, "skylake-avx512"),
        ("GenuineIntel", 6, 106, "icelake-server"),
        ("GenuineIntel", 6, 143, "sapphirerapids"),
        ("GenuineIntel", 6, 173, "graniterapids"),
        ("GenuineIntel", 6, 207, "emeraldrapids"),
    ],
)
def test_known_processor(tmp_path: Path, vendor: str, family: int, model: int, cpu: str) -> None:
    spec = machine(tmp_path, X86_CPUS[cpu], processor=(vendor, family, model))
    assert (spec.llvm.cpu, spec.llvm.features) == (cpu, ())


@pytest.mark.parametrize(
    ("level", "width_bits", "registers"),
    [("x86-64", 128, 16), ("x86-64-v2", 128, 16), ("x86-64-v3", 256, 16), ("x86-64-v4", 512, 32)],
)
def test_unknown_processor_is_its_level(
    tmp_path: Path, level: str, width_bits: int, registers: int
) -> None:
    # A machine of the lowest level without a single listed flag still has flags: "fpu".
    features = X86_CPUS[level] or frozenset({"popcnt"})
    spec = machine(tmp_path, features)
    assert spec.llvm.cpu == level
    assert (spec.vector.width_bits, spec.vector.register_count) == (width_bits, registers)


def test_features_beyond_the_level_are_switched_on(tmp_path: Path) -> None:
    spec = machine(tmp_path, X86_CPUS["x86-64-v4"] | {"avx512vnni", "gfni"})
    assert spec.llvm.features == ("+avx512vnni", "+gfni")


def test_hidden_features_are_switched_off(tmp_path: Path) -> None:
    hidden = {"avx512vnni", "sse4a"}
    has = X86_CPUS["znver4"] - hidden
    spec = machine(tmp_path, has, processor=("AuthenticAMD", 25, 0x11))
    assert spec.llvm.features == ("-avx512vnni", "-sse4a")
    assert set(required_cpu_features(spec)) == has


def test_hidden_avx512_leaves_narrower_vectors(tmp_path: Path) -> None:
    has = X86_CPUS["znver3"] | {"gfni"}
    spec = machine(tmp_path, has, processor=("AuthenticAMD", 25, 0x11))
    assert spec.llvm.cpu == "znver4"
    assert set(required_cpu_features(spec)) == has
    assert spec.vector.width_bits == 256


def test_feature_without_what_it_stands_on_is_not_used(tmp_path: Path) -> None:
    has = X86_CPUS["x86-64-v3"] | {"avx512vnni"}  # but no avx512f
    spec = machine(tmp_path, has)
    assert set(required_cpu_features(spec)) == X86_CPUS["x86-64-v3"]


def test_caches_are_those_of_linux(tmp_path: Path) -> None:
    cache = machine(tmp_path, X86_CPUS["x86-64-v3"]).cache
    assert (cache.l1d_bytes, cache.l2_bytes) == (49_152, 2_097_152)
    assert (cache.l3_bytes, cache.line_bytes) == (110_100_480, 64)


def test_machine_without_l3(tmp_path: Path) -> None:
    assert machine(tmp_path, X86_CPUS["x86-64-v3"], caches=CACHES).cache.l3_bytes == 0


def test_hidden_caches_are_assumed_and_said_so(tmp_path: Path) -> None:
    spec = machine(tmp_path, X86_CPUS["x86-64-v3"], caches=())
    assert (spec.cache.l1d_bytes, spec.cache.l2_bytes) == (32_768, 262_144)
    assert spec.source == (
        "this machine: GenuineIntel family 6 model 1; "
        "cache sizes not told by Linux, smallest of such machines assumed"
    )


def test_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings + "\n")
    assert machine(tmp_path, X86_CPUS["x86-64-v3"]).cores.count == 2


def test_cores_without_topology_are_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {4, 7, 9})
    assert machine(tmp_path, X86_CPUS["x86-64-v3"]).cores.count == 3


def test_no_flags_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        machine(tmp_path, frozenset())
    assert str(caught.value) == (
        "target host: /proc/cpuinfo lists no processor flags\n"
        "  why: without them code could be made that this machine does not run\n"
        "  fix: mount /proc, or name a target such as x86-64-v3"
    )


def test_other_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        host_target(cpuinfo=tmp_path / "none", system="Darwin", machine="arm64")
    assert str(caught.value) == (
        "target host: this machine (Darwin on arm64) cannot be described\n"
        "  why: `host` is read from /proc and /sys of Linux on x86-64 or aarch64\n"
        "  fix: name a target; `tunesmith targets` lists them"
    )


def test_arm_host_has_neon(tmp_path: Path) -> None:
    spec = host_target(
        cpuinfo=tmp_path / "none", cpu_folder=tmp_path, system="Linux", machine="aarch64"
    )
    assert validate(spec).llvm.triple == "aarch64-unknown-linux-gnu"
    assert (spec.vector.width_bits, spec.lanes(32)) == (128, 4)
    assert required_cpu_features(spec) == ()


def test_this_machine_runs_host_code() -> None:
    spec = load_target("host")
    assert spec == load_target("host")
    assert missing_cpu_features(spec) == ()
    assert set(required_cpu_features(spec)) <= host_cpu_features()
