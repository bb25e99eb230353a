"""Measured peaks: which code is measured, and that it runs here."""

from __future__ import annotations

import pytest

from compiler.cpu_features import X86_LEVELS
from compiler.errors import TargetError
from compiler.measure import peaks
from compiler.measure.peaks import Peaks, measure_peaks, vector_flags, widest_vector_bits
from compiler.target_spec import load_target


@pytest.mark.parametrize(
    ("level", "bits", "flags"),
    [
        ("x86-64", 128, ()),
        ("x86-64-v2", 128, ()),
        ("x86-64-v3", 256, ("-mavx", "-mfma")),
        ("x86-64-v4", 512, ("-mavx512f", "-mfma")),
    ],
)
def test_vectors_of_a_processor(level: str, bits: int, flags: tuple[str, ...]) -> None:
    features = frozenset(X86_LEVELS[level])
    assert widest_vector_bits(features) == bits
    assert vector_flags(bits, features) == flags


def test_narrow_vectors_on_a_machine_with_wide_ones() -> None:
    assert vector_flags(256, frozenset(X86_LEVELS["x86-64-v4"])) == ("-mavx", "-mfma")


def test_shares() -> None:
    found = Peaks(fma_gflops=200.0, memory_gbytes_per_s=50.0, threads=2, vector_bits=256)
    assert found.compute_share(50.0) == 0.25
    assert found.memory_share(100.0) == 2.0


def test_peaks_of_this_machine() -> None:
    host = load_target("host")
    found = measure_peaks(host, threads=2)
    assert found.fma_gflops > 0
    assert found.memory_gbytes_per_s > 0
    assert (found.threads, found.vector_bits) == (2, host.vector.width_bits)


def test_a_machine_without_those_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "host_cpu_features", frozenset)
    with pytest.raises(TargetError) as caught:
        measure_peaks(load_target("x86-64-v3"), threads=1)
    assert str(caught.value) == (
        "target x86-64-v3: its peak cannot be measured here\n  why: this machine lacks avx\n"
        "  fix: measure on such a machine, or use the target host"
    )
