"""zig as a cross compiler: found, and named when it is missing."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from compiler.errors import ToolchainError
from compiler.toolchain import Toolchain, find_toolchain, static_program_command

ZIG = ("zig", "cc", "-target", "aarch64-linux-gnu.2.28")


def test_missing_zig_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ToolchainError) as caught:
        find_toolchain(ZIG)
    assert str(caught.value) == (
        "no C compiler: `zig cc -target aarch64-linux-gnu.2.28` was not found\n"
        "  why: the target names zig to build the library; it is neither on the PATH nor installed "
        "as a Python package\n"
        "  fix: pip install 'tunesmith[cross]'"
    )


def test_zig_of_the_wheel_is_taken() -> None:
    pytest.importorskip("ziglang")
    toolchain = find_toolchain(ZIG)
    assert toolchain.is_zig
    assert toolchain.cc[1:] == ZIG[1:]
    assert toolchain.ar == (toolchain.cc[0], "ar")
    assert toolchain.version.startswith("zig 0.")


def test_asking_for_the_version_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.chdir(tmp_path)
    find_toolchain(("zig", "cc", "-target", "aarch64-macos.12.0"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cc", "expected"),
    [
        (ZIG, ("zig", "cc", "-target", "aarch64-linux-musl", "-static")),
        (
            ("zig", "cc", "-target", "riscv64-linux-musl"),
            ("zig", "cc", "-target", "riscv64-linux-musl", "-static"),
        ),
        (("aarch64-linux-gnu-gcc",), ("aarch64-linux-gnu-gcc", "-static")),
    ],
)
def test_static_program(cc: tuple[str, ...], expected: tuple[str, ...]) -> None:
    toolchain = Toolchain(cc=cc, ar=("ar",), version="1")
    assert static_program_command(toolchain) == expected
