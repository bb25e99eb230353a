"""Build the firmware that runs an artifact, or single kernels of it, in an emulator."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from compiler.artifact.manifest import Artifact, TensorRecord, check_digest
from compiler.bare_metal_flags import COMPILE_FLAGS
from compiler.errors import LimitError, ToolchainError
from compiler.runners.phase_calls import phase_calls
from compiler.runners.runner import KernelSymbol
from compiler.toolchain import run_tool

MODEL_FIRMWARE = "firmware_model.elf"
KERNELS_FIRMWARE = "firmware_kernels.elf"
_LOAD = 1  # PT_LOAD
_TABLES = "firmware_tables.h"
_FIX = "use a target with more memory, or a smaller input"
_IN_ARENA = "compile with --io-memory arena, where results take the place of inputs"
_LINK_FLAGS = ("-nostartfiles", "-Wl,--gc-sections")
_LIBRARIES = ("-lm",)  # libc and libgcc the compiler adds itself: the small ones if told so


def build_model_firmware(artifact: Artifact, folder: Path) -> None:
    """Put a firmware that runs the whole model into `folder`."""
    _build(artifact, folder, "firmware_model.c", _model_tables(artifact), MODEL_FIRMWARE)


def build_kernels_firmware(
    artifact: Artifact,
    folder: Path,
    symbols: Sequence[KernelSymbol],
    weights: str | None,
    memory_bytes: int,
) -> None:
    """Put a firmware that runs single kernels into `folder`; `symbols` are numbered in order."""
    tables = _kernel_tables(symbols, weights, memory_bytes)
    _build(artifact, folder, "firmware_kernels.c", tables, KERNELS_FIRMWARE)


def _build(artifact: Artifact, folder: Path, source: str, tables: str, program: str) -> None:
    static = artifact.manifest.static_library
    for name in (static, "board/link.ld", "board/startup.c", "include/tunesmith.h"):
        check_digest(artifact, name)
        shutil.copyfile(artifact.path / name, folder / Path(name).name)
    for name in (source, "semihosting.h"):
        with as_file(files("compiler.runners.programs") / name) as path:
            shutil.copyfile(path, folder / name)
    (folder / _TABLES).write_text(tables, encoding="ascii")
    flags = (*COMPILE_FLAGS, "-Os", "-I.", *_LINK_FLAGS, "-T", "link.ld")
    sources = (source, "startup.c", Path(static).name)
    command = (*artifact.manifest.runner.cc, *flags, "-o", program, *sources, *_LIBRARIES)
    try:
        run_tool(command, folder=folder)
    except ToolchainError as failure:
        if "will not fit in region" in failure.why or "no room for the stack" in failure.why:
            raise LimitError(
                "the firmware with the model's inputs and outputs does not fit the board",
                why=failure.why,
                fix=_FIX if artifact.manifest.has_io_in_arena else f"{_FIX}, or {_IN_ARENA}",
            ) from failure
        raise


def _model_tables(artifact: Artifact) -> str:
    manifest = artifact.manifest
    lines = [
        '#include "tunesmith.h"',
        f"const tunesmith_model *{manifest.symbol_prefix}_model(void);",
        f"#define MODEL {manifest.symbol_prefix}_model",
    ]
    regions = manifest.memory.regions
    lines += [
        f"static unsigned char {r.name}[{max(1, r.size_bytes)}] "
        f'__attribute__((section(".tunesmith_{r.name}"), aligned({r.alignment})));'
        for r in regions
    ]
    names = ", ".join(region.name for region in regions)
    lines.append(f"static void *const model_regions[] = {{{names or '0'}}};")
    for word, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        lines += _tensor_table(word, tensors, [region.name for region in regions])
    lines.append(f"#define INPUTS_ARE_OVERWRITTEN {int(any(t.place for t in manifest.inputs))}")
    return "\n".join(lines) + "\n"


def _tensor_table(word: str, tensors: Sequence[TensorRecord], regions: Sequence[str]) -> list[str]:
    """C text with memory for each tensor: an array, or its place in the memory of a run."""
    lines, names = [], []
    for i, tensor in enumerate(tensors):
        if tensor.place is not None:
            names.append(f"{regions[tensor.place.region]} + {tensor.place.offset}")
            continue
        names.append(f"{word}_{i}")
        size = max(1, tensor.size_bytes)
        lines.append(f"static unsigned char {word}_{i}[{size}] __attribute__((aligned(8)));")
    return [*lines, f"static void *const model_{word}s[] = {{{', '.join(names) or '0'}}};"]


def _kernel_tables(symbols: Sequence[KernelSymbol], weights: str | None, memory_bytes: int) -> str:
    """C text with one function of the same kind for each symbol, and where the weights are."""
    lines = phase_calls(symbols)
    if weights:
        lines.append(f"extern const unsigned char {weights}[];")
    lines.append(f"#define weights ({weights or '(const unsigned char *)0'})")
    lines.append(
        f"static unsigned char kernel_memory[{memory_bytes}] __attribute__((aligned(16)));"
    )
    return "\n".join(lines) + "\n"


def loaded_bytes(program: bytes) -> int:
    """Bytes that an ELF program of 32 bits brings along, its zeros left out.

    Source: System V ABI, ch. 5: program headers at e_phoff, each with p_filesz.
    """
    (start,) = struct.unpack_from("<I", program, 28)
    size, count = struct.unpack_from("<HH", program, 42)
    headers = (struct.unpack_from("<8I", program, start + i * size) for i in range(count))
    return sum(header[4] for header in headers if header[0] == _LOAD)
