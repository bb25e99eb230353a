"""The code of a macOS library, run in QEMU: loaded by hand, on Linux's libc.

It shows that what was compiled, renamed, linked and relocated computes the right numbers, also
with threads. That macOS loads the file itself, only a Mac can show.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compiler.artifact.manifest import Artifact
from compiler.pipeline import compile
from compiler.runners.emulator_program import copy_source
from compiler.toolchain import find_toolchain, run_tool
from tests.handmade import C_SOURCES
from tests.macos import exports
from tests.macos_image import load_image
from tests.opened_library import check_program

BASE = 0x20_0000_0000
HOST_CC = ("zig", "cc", "-target", "aarch64-linux-musl")


def _build_host(artifact: Artifact, folder: Path) -> None:
    """Put the program `host` and the files that it reads into `folder`."""
    library = artifact.library_path.read_bytes()
    image = load_image(library, BASE)
    (folder / "image").write_bytes(image.data)
    lines = (f"{offset} {name}\n" for offset, name in sorted(image.imports.items()))
    (folder / "imports").write_text("".join(lines), encoding="ascii")
    copy_source("run_model.c", folder)
    for source in (C_SOURCES / "open_image.c", artifact.path / "include" / "tunesmith.h"):
        shutil.copy(source, folder)
    defines = (
        f"-DIMAGE_BASE={BASE}",
        f"-DIMAGE_BYTES={len(image.data)}",
        f"-DMODEL_OFFSET={exports(library)[f'_{artifact.manifest.symbol_prefix}_model']}",
        "-DMODEL=image_model",
    )
    cc = (*find_toolchain(HOST_CC).cc, "-static", "-std=c99", "-O1", "-I.")
    run_tool((*cc, *defines, "run_model.c", "open_image.c", "-o", "host"), folder=folder)


@pytest.mark.emulator
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64 (qemu-user)")
@pytest.mark.parametrize("name", ["mlperf_tiny_ic_resnet8_f32", "mlperf_tiny_kws_dscnn_f32"])
def test_library_for_macos_computes_what_onnxruntime_does(
    name: str, models: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ziglang")
    path = models / f"{name}.onnx"
    artifact = compile(path, target="apple-m1", output=tmp_path / "out", verify="skip")
    _build_host(artifact, tmp_path)
    check_program(("qemu-aarch64", "-cpu", "max"), tmp_path, artifact, path)
