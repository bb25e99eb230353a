"""Renaming symbols in an ELF object; those in Mach-O objects: `test_mach_object`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from compiler.artifact.object_symbols import with_prefixed_symbols
from compiler.errors import ToolchainError
from tests import handmade


def _named(symbol: str) -> str:
    return f"kws__{symbol}"


def test_defined_global_symbols_are_renamed_and_hidden(tmp_path: Path) -> None:
    code = handmade.compile_kernel("center.c", "SYMBOL_0=first", "SYMBOL_1=second")
    made = tmp_path / "made.o"
    made.write_bytes(with_prefixed_symbols(code, _named))
    listed = subprocess.run(("readelf", "-sW", made), capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines() if "FUNC" in line]
    assert sorted((row[-1], row[4], row[5]) for row in rows) == [
        ("kws__first", "GLOBAL", "HIDDEN"),
        ("kws__fixed_name_helper", "WEAK", "HIDDEN"),
        ("kws__second", "GLOBAL", "HIDDEN"),
    ]


def test_symbols_from_elsewhere_keep_their_names(tmp_path: Path) -> None:
    source = tmp_path / "calls.c"
    source.write_text(
        "float sinf(float);\nfloat call(float x) { return sinf(x); }\n", encoding="ascii"
    )
    made = tmp_path / "calls.o"
    subprocess.run(("cc", "-O1", "-c", source, "-o", made), check=True)
    made.write_bytes(with_prefixed_symbols(made.read_bytes(), _named))
    listed = subprocess.run(("nm", made), capture_output=True, text=True, check=True)
    assert {line.split()[-1] for line in listed.stdout.splitlines()} == {"kws__call", "sinf"}


def test_functions_of_the_library_s_own_runtime_are_renamed(tmp_path: Path) -> None:
    source = tmp_path / "calls.c"
    source.write_text("void sums(void);\nvoid call(void) { sums(); }\n", encoding="ascii")
    made = tmp_path / "calls.o"
    subprocess.run(("cc", "-O0", "-c", source, "-o", made), check=True)
    made.write_bytes(with_prefixed_symbols(made.read_bytes(), _named, frozenset({"sums"})))
    listed = subprocess.run(("nm", made), capture_output=True, text=True, check=True)
    assert {line.split()[-1] for line in listed.stdout.splitlines()} == {"kws__call", "kws__sums"}


def test_object_of_another_format_is_refused() -> None:
    with pytest.raises(ToolchainError) as caught:
        with_prefixed_symbols(b"MZ" + bytes(100), _named)
    assert str(caught.value) == (
        "a kernel was compiled to neither an ELF nor a Mach-O object\n"
        "  why: its symbols cannot be given the model's name\n"
        "  fix: choose a target whose triple names Linux, macOS or bare metal"
    )
