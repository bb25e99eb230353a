"""Reading ELF objects: code bytes and undefined symbols, compared with binutils."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from compiler.kernels.object_code import code_bytes, undefined_symbols

SOURCE = """
#include <math.h>
extern double outside(double);
double once(double x) { return sin(x) + outside(x); }
__attribute__((section(".text.apart"))) double twice(double x) { return 2 * x; }
static const double table[] = {1, 2, 3};
const double *data(void) { return table; }
"""


@pytest.fixture(params=["-m64", "-m32"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    source, out = tmp_path / "one.c", tmp_path / "one.o"
    source.write_text(SOURCE)
    flags = [request.param, "-O1", "-fno-builtin", "-fno-pic", "-ffreestanding"]
    if request.param == "-m32":  # no 32-bit headers are installed
        source.write_text(SOURCE.replace("#include <math.h>", "double sin(double);"))
    done = subprocess.run(["cc", *flags, "-c", source, "-o", out], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cc has no {request.param}: {done.stderr.decode().splitlines()[0]}")
    return out


def test_undefined_symbols(made: Path) -> None:
    assert undefined_symbols(made.read_bytes()) == ("outside", "sin")


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils are not installed")
def test_code_bytes(made: Path) -> None:
    listed = subprocess.run(
        ["readelf", "-SW", made], capture_output=True, text=True, check=True
    ).stdout
    sections = [line.replace("[ ", "[").split() for line in listed.splitlines() if " AX " in line]
    assert len(sections) >= 2
    assert code_bytes(made.read_bytes()) == sum(int(section[5], 16) for section in sections)
