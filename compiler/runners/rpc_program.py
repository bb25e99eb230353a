"""Link the libraries that a board's RPC server loads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from compiler.artifact.manifest import Artifact, check_digest
from compiler.runners.emulator_program import copy_source
from compiler.runners.phase_calls import phase_calls
from compiler.runners.runner import KernelSymbol
from compiler.toolchain import find_toolchain, run_tool

_HEADERS = ("board_guard.h", "board_words.h", "tvm_ffi_abi.h")
_FLAGS = ("-std=c99", "-O1", "-g0", "-shared", "-fPIC", "-fvisibility=hidden", "-I.")
_LIBRARIES = ("-lm", "-lpthread")


def build_model_library(artifact: Artifact, folder: Path) -> Path:
    """Put a library that runs the whole model into `folder`; the weights are in it."""
    manifest = artifact.manifest
    flags = [f"-DMODEL={manifest.symbol_prefix}_model"]
    if manifest.memory.weight_bytes:
        flags.append(f"-DWEIGHTS={manifest.symbol_prefix}__weights")
    return _link(artifact, folder, "rpc_model", (), flags)


def build_kernels_library(
    artifact: Artifact, folder: Path, symbols: Sequence[KernelSymbol]
) -> Path:
    """Put a library of single kernels into `folder`; `symbols` are numbered in order.

    It has no weights: those of the model's library are used.
    """
    table = folder / "kernel_table.c"
    table.write_text("\n".join(phase_calls(symbols)) + "\n", encoding="ascii")
    return _link(artifact, folder, "rpc_kernels", (table.name,), ())


def _link(
    artifact: Artifact, folder: Path, name: str, sources: Sequence[str], flags: Sequence[str]
) -> Path:
    manifest = artifact.manifest
    check_digest(artifact, manifest.static_library)
    for file in (f"{name}.c", *_HEADERS):
        copy_source(file, folder)
    shutil.copyfile(artifact.path / "include" / "tunesmith.h", folder / "tunesmith.h")
    # TVM loads what ends like a library of its system.
    library = folder / f"{name}.{'dylib' if '-apple-' in manifest.target.triple else 'so'}"
    cc = find_toolchain(manifest.runner.cc).cc
    archive = str(artifact.static_library_path.resolve())
    command = (*cc, *_FLAGS, *flags, "-o", library.name, f"{name}.c", *sources, archive)
    run_tool((*command, *_LIBRARIES), folder=folder)
    return library
