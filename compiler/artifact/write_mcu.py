"""Program, kernels and memory plan -> artifact folder for a microcontroller."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from compiler.artifact.board import Board, board_files
from compiler.artifact.elf_symbols import with_prefixed_symbols
from compiler.artifact.entry import (
    Linkable,
    entry_source,
    example_source,
    header_source,
    prefixed_symbol,
)
from compiler.artifact.folder import replaced_folder
from compiler.artifact.json_records import to_json
from compiler.artifact.link import library_paths
from compiler.artifact.manifest import (
    MANIFEST_NAME,
    REPORT_NAME,
    Artifact,
    ModelInfo,
    Provenance,
    RunnerInfo,
    TargetInfo,
)
from compiler.artifact.report import build_report
from compiler.artifact.weights import BARE_ALIGNMENT, pack_weights, weights_sources
from compiler.artifact.write import RUNTIME_FUNCTION_FILES, manifest_of, write_file
from compiler.artifact.zephyr import zephyr_files
from compiler.bare_metal_flags import COMPILE_FLAGS
from compiler.memory_plan import MemoryPlan
from compiler.program import CompiledKernel, Program
from compiler.toolchain import Toolchain, run_tool

_BUILD_FOLDER = "build"


def write_mcu_artifact(
    destination: Path,
    *,
    model: ModelInfo,
    target: TargetInfo,
    program: Program,
    kernels: Mapping[str, CompiledKernel],
    plan: MemoryPlan,
    toolchain: Toolchain,
    provenance: Provenance,
    runner: RunnerInfo,
    board: Board,
    relax_plan_bytes: int | None = None,
    **_: Any,
) -> Artifact:
    """As `write.write_artifact`: C sources, a static library of them, and files to build firmware.

    A kernel that LLVM made has no source: its object is among the sources. There is no shared
    library and no session: nothing here could load or thread it.

    Raises:
        ArtifactError: the folder cannot be written, or holds something else.
        LimitError: the weights fit no flash.
        ToolchainError: the compiler or archiver fails.
    """
    linkable = Linkable(
        model_name=model.name,
        target_name=target.name,
        fingerprint=target.fingerprint,
        program=program,
        kernels=kernels,
        plan=plan,
        weights=pack_weights(program.constants, BARE_ALIGNMENT),
        sessions=False,
    )
    with replaced_folder(destination) as folder:
        sources = _write_sources(folder, linkable, board)
        static = _build(folder, linkable, sources, toolchain)
        library_bytes = (folder / static).stat().st_size
        report = build_report(
            linkable, relax_plan_bytes=relax_plan_bytes, library_bytes=library_bytes
        )
        write_file(folder / REPORT_NAME, to_json(report))
        manifest = manifest_of(
            folder, linkable, (None, static), model, target, runner, provenance, ()
        )
        write_file(folder / MANIFEST_NAME, to_json(manifest))
    return Artifact(path=destination, manifest=manifest)


def _used(model: Linkable) -> list[CompiledKernel]:
    return [model.kernels[name] for name in sorted({call.kernel for call in model.program.calls})]


def _called_sources(model: Linkable) -> list[str]:
    """Files of the runtime with functions that kernels call."""
    called = {symbol for kernel in _used(model) for symbol in kernel.runtime_symbols}
    return sorted({RUNTIME_FUNCTION_FILES[symbol] for symbol in called})


def _write_sources(folder: Path, model: Linkable, board: Board) -> list[str]:
    """Write headers, sources, example and build files; return the sources that are no kernels."""
    prefix = model.prefix
    runtime = files("compiler.artifact") / "runtime"
    weights_name, weights = next(weights_sources(model.weights, "bytes", prefix))
    code_bytes = sum(kernel.code_bytes for kernel in _used(model))
    kernel_files: Literal["c", "o"] = "c" if all(kernel.source for kernel in _used(model)) else "o"
    texts: dict[str, str | bytes] = {
        "include/tunesmith.h": (runtime / "tunesmith.h").read_bytes(),
        f"include/{prefix}.h": header_source(model),
        f"src/{prefix}.c": entry_source(model),
        f"src/{weights_name}": weights,
        "src/runtime/run.c": (runtime / "run.c").read_bytes(),
        "src/runtime/runtime.h": (runtime / "runtime.h").read_bytes(),
        "examples/main.c": example_source(model),
        **board_files(
            board,
            prefix,
            code_bytes,
            len(model.weights.data),
            kernel_files=kernel_files,
        ),
        **zephyr_files(board, model, kernel_files),
    }
    called = _called_sources(model)
    texts |= {f"src/runtime/{name}": (runtime / name).read_bytes() for name in called}
    for kernel in _used(model):
        place = f"src/kernels/{kernel.name}"
        if kernel.source:
            texts[f"{place}.c"] = kernel.source
        else:
            texts[f"{place}.o"] = _object(kernel, prefix)
    for name, text in texts.items():
        write_file(folder / name, text)
    return [f"src/{prefix}.c", f"src/{weights_name}", "src/runtime/run.c"]


def _object(kernel: CompiledKernel, prefix: str) -> bytes:
    """The kernel's object, its symbols with the model's prefix: those of C have it already."""
    if kernel.source:
        return kernel.object_code
    return with_prefixed_symbols(kernel.object_code, lambda symbol: prefixed_symbol(prefix, symbol))


def _build(folder: Path, model: Linkable, sources: list[str], toolchain: Toolchain) -> str:
    """Compile, archive and remove what was needed only for that; return the library's place."""
    build = folder / _BUILD_FOLDER
    build.mkdir()
    flags = (*COMPILE_FLAGS, f"-DTUNESMITH_PREFIX={model.prefix}", "-Iinclude", "-Isrc")
    objects = []
    # What is called once for each kernel is small, what kernels call is fast.
    small = [(source, ["-Os"]) for source in sources]
    fast: list[tuple[str, list[str]]] = [
        (f"src/runtime/{name}", []) for name in _called_sources(model)
    ]
    for source, more in small + fast:
        built = f"{_BUILD_FOLDER}/{Path(source).stem}.o"
        run_tool((*toolchain.cc, *flags, *more, "-c", source, "-o", built), folder=folder)
        objects.append(built)
    for kernel in _used(model):
        built = f"{_BUILD_FOLDER}/{kernel.name}.o"
        write_file(folder / built, _object(kernel, model.prefix))
        objects.append(built)
    static = library_paths(model.prefix).static
    (folder / "lib").mkdir()
    run_tool((*toolchain.ar, "rcsD", static, *objects), folder=folder)
    for file in build.iterdir():
        file.unlink()
    build.rmdir()
    return static
