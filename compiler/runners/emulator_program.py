"""Link the programs that call a library inside an emulator."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from compiler.artifact.manifest import Artifact, check_digest
from compiler.runners.phase_calls import phase_calls
from compiler.runners.runner import KernelSymbol
from compiler.toolchain import find_toolchain, run_tool, static_program_command

MODEL_PROGRAM = "run_model"
KERNELS_PROGRAM = "run_kernels"
_FLAGS = ("-std=c99", "-O1", "-g0")
_LIBRARIES = ("-lm", "-lpthread")


def build_model_program(artifact: Artifact, folder: Path) -> None:
    """Put a program that runs the whole model into `folder`."""
    prefix = artifact.manifest.symbol_prefix
    copy_source("run_model.c", folder)
    header = folder / "tunesmith.h"
    shutil.copyfile(artifact.path / "include" / header.name, header)
    _link(artifact, folder, ("run_model.c",), (f"-DMODEL={prefix}_model", "-I."), MODEL_PROGRAM)


def build_kernels_program(
    artifact: Artifact, folder: Path, symbols: Sequence[KernelSymbol], weights: str | None
) -> None:
    """Put a program that runs single kernels into `folder`; `symbols` are numbered in order."""
    copy_source("run_kernels.c", folder)
    table = folder / "kernel_table.c"
    table.write_text(_kernel_table(symbols, weights), encoding="ascii")
    _link(artifact, folder, ("run_kernels.c", table.name), (), KERNELS_PROGRAM)


def copy_source(name: str, folder: Path) -> None:
    """Copy one of the C sources of this package into `folder`."""
    with as_file(files("compiler.runners.programs") / name) as source:
        shutil.copyfile(source, folder / name)


def _link(
    artifact: Artifact, folder: Path, sources: Sequence[str], flags: Sequence[str], program: str
) -> None:
    check_digest(artifact, artifact.manifest.static_library)
    cc = static_program_command(find_toolchain(artifact.manifest.runner.cc))
    library = str(artifact.static_library_path.resolve())
    command = (*cc, *_FLAGS, *flags, "-o", program, *sources, library, *_LIBRARIES)
    run_tool(command, folder=folder)


def _kernel_table(symbols: Sequence[KernelSymbol], weights: str | None) -> str:
    """C source with one function of the same kind for each symbol, and where the weights are."""
    lines = phase_calls(symbols)
    if weights:
        lines.append(f"extern const unsigned char {weights}[];")
    lines.append(f"const unsigned char *const weights = {weights or '(void *)0'};")
    return "\n".join(lines) + "\n"
