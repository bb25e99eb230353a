"""A shared library for Linux on 64-bit Arm, opened by a program at run time, in QEMU."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compiler.artifact.manifest import Artifact
from compiler.pipeline import compile
from compiler.runners.emulator_program import copy_source
from compiler.toolchain import find_toolchain, run_tool
from tests.handmade import C_SOURCES
from tests.opened_library import check_program

# glibc and its loader for the emulated processor, where Debian's libc6-arm64-cross puts them.
SYSTEM = "/usr/aarch64-linux-gnu"


def _build_host(artifact: Artifact, folder: Path) -> None:
    """Put a program that opens the library beside it into `folder`, linked with libc only."""
    copy_source("run_model.c", folder)
    for source in (C_SOURCES / "open_shared.c", artifact.path / "include" / "tunesmith.h"):
        shutil.copy(source, folder)
    shutil.copy(artifact.library_path, folder)
    symbol = f"{artifact.manifest.symbol_prefix}_model"
    defines = (
        f'-DLIBRARY="./{artifact.library_path.name}"',
        f'-DSYMBOL="{symbol}"',
        "-DMODEL=opened_model",
    )
    cc = find_toolchain(artifact.manifest.runner.cc).cc
    sources = ("run_model.c", "open_shared.c")
    command = (*cc, "-std=c99", "-O1", "-I.", *defines, *sources, "-o", "host", "-ldl")
    run_tool(command, folder=folder)


@pytest.mark.emulator
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64 (qemu-user)")
@pytest.mark.skipif(not Path(SYSTEM, "lib").exists(), reason="needs libc6-arm64-cross")
def test_opened_library_agrees_with_onnxruntime(models: Path, tmp_path: Path) -> None:
    path = models / "mlperf_tiny_ic_resnet8_f32.onnx"
    artifact = compile(path, target="neoverse-n1", output=tmp_path / "out", verify="skip")
    emulator, *options = artifact.manifest.runner.command
    _build_host(artifact, tmp_path)
    check_program((emulator, "-L", SYSTEM, *options), tmp_path, artifact, path)
