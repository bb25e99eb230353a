"""Reading Mach-O objects, and giving their symbols a prefix."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.artifact.object_symbols import with_prefixed_symbols
from compiler.kernels.object_code import code_bytes, undefined_symbols
from compiler.mach_object import is_mach, shown_symbols
from tests.macos import compile_for_macos, exports, link_for_macos

SOURCE = """
extern double outside(double);
extern double sums(double);
static double hidden_helper(double x) { return 2 * x; }
double once(double x) { return sums(x) + outside(hidden_helper(x)); }
__attribute__((weak)) double fixed_name_helper(double x) { return x; }
__attribute__((visibility("hidden"))) double twice(double x) { return once(once(x)); }
"""
# 5 instructions of 4 bytes in two sections, and data that are none.
ASSEMBLY = """
    .section __TEXT,__text,regular,pure_instructions
    .globl _first
_first:
    nop
    nop
    ret
    .section __TEXT,__apart,regular,pure_instructions
    nop
    ret
    .section __TEXT,__const
    .quad 1, 2, 3
"""


def _named(symbol: str) -> str:
    return f"kws__{symbol}"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_for_macos(SOURCE, tmp_path_factory.mktemp("mach"))


def test_undefined_symbols_have_the_names_of_c(code: bytes) -> None:
    assert is_mach(code)
    assert undefined_symbols(code) == ("outside", "sums")


def test_code_bytes(tmp_path: Path) -> None:
    assert code_bytes(compile_for_macos(ASSEMBLY, tmp_path, name="made.S")) == 5 * 4


def test_hidden_and_local_symbols_are_not_shown(code: bytes) -> None:
    assert shown_symbols(code) == ("fixed_name_helper", "once")


def test_global_symbols_are_renamed_and_hidden(code: bytes, tmp_path: Path) -> None:
    made = with_prefixed_symbols(code, _named, frozenset({"sums"}))
    assert shown_symbols(made) == ()
    assert undefined_symbols(made) == ("kws__sums", "outside")
    # A linker finds what was renamed, inside the object and from another one.
    (tmp_path / "kernel.o").write_bytes(made)
    caller = """
    double kws__once(double); double kws__twice(double); double kws__fixed_name_helper(double);
    double kws__sums(double x) { return x; }
    double outside(double x) { return x; }
    double call(double x) { return kws__once(x) + kws__twice(x) + kws__fixed_name_helper(x); }
    """
    compile_for_macos(caller, tmp_path)
    link_for_macos(tmp_path, "-dynamiclib", "made.o", "kernel.o", "-o", "made.dylib")
    found = exports((tmp_path / "made.dylib").read_bytes())
    assert {name for name in found if not name.startswith("__")} == {
        "_call",
        "_outside",
        "_kws__sums",
    }


def test_names_that_do_not_change_stay(code: bytes) -> None:
    made = with_prefixed_symbols(code, str)
    assert len(made) == len(code)
    assert undefined_symbols(made) == undefined_symbols(code)
    assert shown_symbols(made) == ()


def test_file_whose_names_are_not_last(code: bytes) -> None:
    """The new table of names goes behind all else; nothing else moves."""
    made = with_prefixed_symbols(code + bytes(16), _named)
    assert made[len(code) :][:16] == bytes(16)
    assert undefined_symbols(made) == ("outside", "sums")
    assert code_bytes(made) == code_bytes(code)
    assert b"_kws__once\0" in made[len(code) + 16 :]
