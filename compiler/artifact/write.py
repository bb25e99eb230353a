"""Program, kernels and memory plan -> artifact folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path

from compiler.artifact.cpu_check import cpu_check_source
from compiler.artifact.entry import (
    ABI_VERSION,
    Linkable,
    Tensor,
    entry_source,
    example_source,
    header_source,
    input_tensors,
    output_tensors,
    prefixed_symbol,
)
from compiler.artifact.folder import replaced_folder
from compiler.artifact.json_records import to_json
from compiler.artifact.library_form import LibraryForm, library_form
from compiler.artifact.link import LibraryPaths, compile_sources, link_libraries
from compiler.artifact.manifest import (
    FORMAT,
    MANIFEST_NAME,
    REPORT_NAME,
    SCHEMA_VERSION,
    THIS_PROCESS,
    Artifact,
    Manifest,
    MemoryTotals,
    ModelInfo,
    Provenance,
    RegionRecord,
    RunnerInfo,
    TargetInfo,
    TensorRecord,
    file_digest,
)
from compiler.artifact.object_symbols import with_prefixed_symbols
from compiler.artifact.render import render
from compiler.artifact.report import build_report
from compiler.artifact.weights import WeightsForm, pack_weights, weights_sources
from compiler.memory_plan import MemoryPlan
from compiler.program import CompiledKernel, Program, Quantization
from compiler.toolchain import Toolchain

_PUBLIC_HEADER = "tunesmith.h"
_RUNTIME_SOURCES = ("run.c", "session.c", "pool.c")
_RUNTIME_FILES = (*_RUNTIME_SOURCES, "runtime.h", "pool.h")
# Where functions that kernels call are.
RUNTIME_FUNCTION_FILES = {
    "tunesmith_amx_sums": "amx_sums.c",
    "tunesmith_amx_unsigned_sums": "amx_sums.c",
    "tunesmith_dot_depthwise": "dot_depthwise.c",
    "tunesmith_dot_sums": "dot_sums.c",
    "tunesmith_half_depthwise": "half_depthwise.c",
    "tunesmith_half_sums": "half_sums.c",
    "tunesmith_mm_sums": "mm_sums.c",
    "tunesmith_mm_unsigned_sums": "mm_sums.c",
    "tunesmith_narrow_depthwise": "narrow_depthwise.c",
    "tunesmith_narrow_sums": "narrow_sums.c",
    "tunesmith_pair_depthwise": "pair_depthwise.c",
    "tunesmith_pair_planes": "pair_rows.c",
    "tunesmith_pair_rows": "pair_rows.c",
    "tunesmith_pair_sums": "pair_sums.c",
    "tunesmith_plain_depthwise": "plain_depthwise.c",
    "tunesmith_rvv_depthwise": "rvv_depthwise.c",
    "tunesmith_rvv_sums": "rvv_sums.c",
    "tunesmith_sve_depthwise": "sve_depthwise.c",
    "tunesmith_sve_dot_depthwise": "sve_dot_depthwise.c",
    "tunesmith_sve_dot_sums": "sve_dot_sums.c",
    "tunesmith_sve_half_depthwise": "sve_half_depthwise.c",
    "tunesmith_sve_half_sums": "sve_half_sums.c",
    "tunesmith_sve_mm_sums": "sve_mm_sums.c",
    "tunesmith_sve_mm_unsigned_sums": "sve_mm_sums.c",
    "tunesmith_sve_pad": "sve_pad.c",
    "tunesmith_sve_sums": "sve_sums.c",
    "tunesmith_wide_sums": "wide_sums.c",
    "tunesmith_word_sums": "word_sums.c",
}
# What such a file calls in others.
RUNTIME_FILES_BEHIND = {
    "sve_dot_depthwise.c": ("dot_depthwise.c",),
    "sve_mm_sums.c": ("mm_sums.c",),
}
# What some of them include, which is not compiled for itself then.
_INCLUDED = {
    "sve_half_depthwise.c": "sve_depthwise.c",
    "sve_half_sums.c": "sve_sums.c",
}
_BUILD_FOLDER = "build"


def write_artifact(
    destination: Path,
    *,
    model: ModelInfo,
    target: TargetInfo,
    program: Program,
    kernels: Mapping[str, CompiledKernel],
    plan: MemoryPlan,
    toolchain: Toolchain,
    provenance: Provenance,
    runner: RunnerInfo = THIS_PROCESS,
    required_features: tuple[str, ...] = (),
    relax_plan_bytes: int | None = None,
    weights: WeightsForm = "incbin",
    jobs: int = 1,
) -> Artifact:
    """Build the libraries and write the whole folder; it appears at once or not at all.

    An older artifact at `destination` is replaced. The bytes written do not depend on
    `destination` or `jobs`.

    Args:
        kernels: by name; at least those that `program` calls.
        runner: how the library can be tried.
        required_features: LLVM names of what the code uses beyond the architecture's baseline.
        relax_plan_bytes: what Relax's own memory plan needs, for the report.
        weights: ``incbin`` needs a GNU assembler, ``c`` only a C compiler.
        jobs: compilers that run at the same time.

    Raises:
        ArtifactError: the folder cannot be written, or holds something else.
        ToolchainError: the compiler or linker fails.
    """
    linkable = Linkable(
        model_name=model.name,
        target_name=target.name,
        fingerprint=target.fingerprint,
        program=program,
        kernels=kernels,
        plan=plan,
        weights=pack_weights(program.constants),
    )
    form = library_form(target.triple)
    with replaced_folder(destination) as folder:
        sources = _write_sources(folder, linkable, target.triple, form, required_features, weights)
        paths = _build(folder, linkable, sources, target.triple, form, toolchain, jobs)
        library_bytes = (folder / paths.shared).stat().st_size
        report = build_report(
            linkable, relax_plan_bytes=relax_plan_bytes, library_bytes=library_bytes
        )
        write_file(folder / REPORT_NAME, to_json(report))
        manifest = manifest_of(
            folder,
            linkable,
            (paths.shared, paths.static),
            model,
            target,
            runner,
            provenance,
            tuple(sorted(required_features)),
        )
        write_file(folder / MANIFEST_NAME, to_json(manifest))
    return Artifact(path=destination, manifest=manifest)


def _write_sources(
    folder: Path,
    model: Linkable,
    triple: str,
    form: LibraryForm,
    features: tuple[str, ...],
    weights: WeightsForm,
) -> list[str]:
    """Write headers, sources and the example; return the files to compile."""
    prefix = model.prefix
    runtime = files("compiler.artifact") / "runtime"
    texts = {
        f"include/{_PUBLIC_HEADER}": (runtime / _PUBLIC_HEADER).read_bytes(),
        f"include/{prefix}.h": header_source(model).encode(),
        f"src/{prefix}.c": entry_source(model).encode(),
        f"src/{prefix}_cpu.c": cpu_check_source(
            features, architecture=triple.split("-", 1)[0], macos="-apple-" in triple
        ).encode(),
        "examples/main.c": example_source(model).encode(),
        "CMakeLists.txt": render("CMakeLists.txt.j2", prefix=prefix, suffix=form.suffix).encode(),
    }
    called = {symbol for kernel in model.kernels.values() for symbol in kernel.runtime_symbols}
    more, included = files_behind(called)
    texts |= {
        f"src/runtime/{name}": (runtime / name).read_bytes()
        for name in (*_RUNTIME_FILES, *sorted({*more, *included}))
    }
    sources = weights_sources(model.weights, weights, prefix, form.weights_template)
    blobs = {f"src/{name}": data for name, data in sources}
    for name, data in (texts | blobs).items():
        write_file(folder / name, data)
    runtime_sources = (f"src/runtime/{name}" for name in (*_RUNTIME_SOURCES, *more))
    return [f"src/{prefix}.c", f"src/{prefix}_cpu.c", *runtime_sources, next(iter(blobs))]


def files_behind(symbols: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the runtime's files that kernels with calls of `symbols` need.

    Returns:
        Those to compile, sorted, and those that they include.
    """
    named = {RUNTIME_FUNCTION_FILES[symbol] for symbol in symbols}
    behind = {name for file in named for name in RUNTIME_FILES_BEHIND.get(file, ())}
    compiled = tuple(sorted(named | behind))
    return compiled, tuple(sorted(_INCLUDED[name] for name in compiled if name in _INCLUDED))


def _build(
    folder: Path,
    model: Linkable,
    sources: list[str],
    triple: str,
    form: LibraryForm,
    toolchain: Toolchain,
    jobs: int,
) -> LibraryPaths:
    """Compile, link and remove what was needed only for that."""
    build = folder / _BUILD_FOLDER
    build.mkdir()
    prefix = model.prefix
    compiled = compile_sources(
        folder,
        sources,
        prefix=prefix,
        triple=triple,
        toolchain=toolchain,
        build=_BUILD_FOLDER,
        jobs=jobs,
    )
    objects = [*compiled, *_write_kernels(build, model)]
    paths = link_libraries(
        folder, objects, prefix=prefix, toolchain=toolchain, build=_BUILD_FOLDER, form=form
    )
    for file in build.iterdir():
        file.unlink()
    build.rmdir()
    return paths


def _write_kernels(build: Path, model: Linkable) -> list[str]:
    """Write each kernel that is called as an object with prefixed symbols, sorted by name."""
    names = sorted({call.kernel for call in model.program.calls})
    written = []
    for number, name in enumerate(names):
        code = with_prefixed_symbols(
            model.kernels[name].object_code,
            lambda symbol: prefixed_symbol(model.prefix, symbol),
            frozenset(model.kernels[name].runtime_symbols),
        )
        write_file(build / f"kernel_{number:04d}.o", code)
        written.append(f"{build.name}/kernel_{number:04d}.o")
    return written


def manifest_of(
    folder: Path,
    model: Linkable,
    libraries: tuple[str | None, str],
    info: ModelInfo,
    target: TargetInfo,
    runner: RunnerInfo,
    provenance: Provenance,
    features: tuple[str, ...],
) -> Manifest:
    """Return the manifest of a folder in which everything else is written.

    Args:
        libraries: the shared one, if there is one, and the static one.
    """
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        format=FORMAT,
        schema_version=SCHEMA_VERSION,
        abi_version=ABI_VERSION,
        symbol_prefix=model.prefix,
        model=info,
        target=target,
        runner=runner,
        inputs=tensor_records(input_tensors(model)),
        outputs=tensor_records(output_tensors(model)),
        memory=memory_totals(model),
        cpu_features=features,
        provenance=provenance,
        shared_library=libraries[0],
        static_library=libraries[1],
        files={path.relative_to(folder).as_posix(): file_digest(path) for path in written},
    )


def tensor_records(ports: tuple[Tensor, ...]) -> tuple[TensorRecord, ...]:
    return tuple(
        TensorRecord(
            name=port.name,
            c_name=port.member,
            dtype=port.dtype,
            shape=port.shape,
            quantization=None
            if port.scale is None
            else Quantization(scale=port.scale, zero_point=port.zero_point),
            place=port.place,
        )
        for port in ports
    )


def memory_totals(model: Linkable) -> MemoryTotals:
    plan = model.plan
    return MemoryTotals(
        regions=tuple(
            RegionRecord(name=r.name, size_bytes=r.size_bytes, alignment=r.alignment)
            for r in plan.regions
        ),
        arena_bytes=plan.arena_bytes,
        lower_bound_bytes=plan.lower_bound_bytes,
        worker_scratch_bytes=plan.worker_scratch_bytes,
        weight_bytes=len(model.weights.data),
    )


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file of an artifact, in folders that need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
