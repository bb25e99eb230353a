"""A library for a server with AMX: its code has the instructions, this machine refuses it."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from compiler.artifact.manifest import Artifact
from compiler.errors import OtherMachineError
from compiler.library import load
from compiler.pipeline import compile as compile_model
from compiler.target_spec import load_target, runs_here
from compiler.toolchain import find_toolchain, run_tool
from tests.onnx_models import save
from tests.quantized_models import QdqBuilder

RUNTIME = Path(str(files("compiler.artifact") / "runtime"))
SPEC = load_target("sapphire-rapids")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A convolution of int8 and a product of uint8, whose sums fill tiles."""
    folder = tmp_path_factory.mktemp("amx")
    b = QdqBuilder()
    made = b.node("Conv", b.data(1, 32, 12, 16), b.weight(32, 32, 3, 3), pads=[1] * 4)
    b.output(made, 2.0)
    b.output(b.node("MatMul", b.data(16, 64, dtype="uint8", zero=9), b.weight(64, 32, axis=1)), 1.0)
    path = save(b.model(), folder / "products.onnx")
    return compile_model(path, target=SPEC, output=folder / "out", verify="skip")


def _code(library: Path) -> str:
    if shutil.which("objdump") is None:
        pytest.skip("needs objdump")
    command = ("objdump", "-d", str(library))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_library_multiplies_tiles(artifact: Artifact) -> None:
    rules = {kernel["schedule"]["name"] for kernel in artifact.report()["kernels"]}
    assert {"amx-conv2d", "amx-matmul"} <= rules
    code = _code(artifact.library_path)
    for name in ("ldtilecfg", "tileloadd", "tdpbssd", "tdpbusd", "tilestored", "tilerelease"):
        assert re.search(rf"\t{name}\b", code), name
    assert "vpdpbusd" not in code  # nothing else is left to it here


def test_tiles_are_asked_for_when_the_library_is_loaded(artifact: Artifact) -> None:
    code = _code(artifact.library_path)
    asking = [part for part in code.split("\n\n") if "$0x1023" in part]
    assert len(asking) == 2  # this one, and the check of the processor
    assert any("ask_for_tiles" in part for part in asking)


@pytest.mark.skipif(runs_here(SPEC), reason="this machine has AMX")
def test_library_is_refused_elsewhere(artifact: Artifact) -> None:
    assert {"amx-tile", "amx-int8"} <= set(artifact.manifest.cpu_features)
    with pytest.raises(OtherMachineError, match="needs the CPU feature a"):
        load(artifact.path)


def test_cross_compiler_has_the_instructions(tmp_path: Path) -> None:
    """Clang's intrinsics, as specs with `zig` compile the file."""
    toolchain = find_toolchain(("zig", "cc", "-target", "x86_64-linux-gnu.2.28"))
    flags = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-mamx-tile", "-mamx-int8")
    command = (*toolchain.cc, *flags, "-DTUNESMITH_PREFIX=m", f"-I{RUNTIME}", "-c")
    run_tool((*command, str(RUNTIME / "amx_sums.c"), "-o", "sums.o"), folder=tmp_path)
    code = _code(tmp_path / "sums.o")
    assert code.count("\ttdpbssd ") == code.count("\ttdpbusd ") >= 9
