"""Program, kernels, device image and memory plan -> artifact folder for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from compiler.artifact.device_image import device_image_sources
from compiler.artifact.entry import Linkable
from compiler.artifact.folder import replaced_folder
from compiler.artifact.gpu_entry import gpu_entry_source, gpu_interface
from compiler.artifact.json_records import to_json
from compiler.artifact.library_form import ELF, library_form
from compiler.artifact.link import LibraryPaths, compile_sources, link_libraries
from compiler.artifact.manifest import (
    MANIFEST_NAME,
    REPORT_NAME,
    Artifact,
    ModelInfo,
    Provenance,
    RunnerInfo,
    TargetInfo,
)
from compiler.artifact.render import render
from compiler.artifact.report import build_report
from compiler.artifact.weights import WeightsForm, pack_weights, weights_sources
from compiler.artifact.write import manifest_of, write_file
from compiler.device_compiler import DeviceImage
from compiler.memory_plan import MemoryPlan
from compiler.program import CompiledKernel, Program
from compiler.target_tables import GPU_ALIGN_BYTES, GpuSpec
from compiler.toolchain import Toolchain

_RUNTIME_SOURCES = ("run.c", "cuda_driver.c", "cuda_session.c")
_RUNTIME_FILES = (*_RUNTIME_SOURCES, "runtime.h", "cuda_driver.h", "cuda_session.h")
_BUILD_FOLDER = "build"
_LIBRARIES = ("-ldl",)  # dlopen, before glibc 2.34


def write_gpu_artifact(
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
    gpu: GpuSpec,
    device_image: DeviceImage,
    relax_plan_bytes: int | None = None,
    weights: WeightsForm = "incbin",
    jobs: int = 1,
    **_: Any,
) -> Artifact:
    """As `write.write_artifact`: libraries of host code that hold the device code as data.

    They show the session functions and the model only, and need libc: the driver is opened when
    a session is made.

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
        weights=pack_weights(program.constants, GPU_ALIGN_BYTES),
    )
    assert library_form(target.triple) is ELF, target.triple  # target_checks.py
    with replaced_folder(destination) as folder:
        sources = _write_sources(folder, linkable, gpu, device_image, weights)
        paths = _build(folder, linkable, sources, target.triple, toolchain, jobs)
        library_bytes = (folder / paths.shared).stat().st_size if paths.shared else 0
        report = build_report(
            linkable, relax_plan_bytes=relax_plan_bytes, library_bytes=library_bytes
        )
        report["totals"] |= {
            "device_image_bytes": len(device_image.data),
            "launches": sum(len(kernels[call.kernel].launches) for call in program.calls),
        }
        write_file(folder / REPORT_NAME, to_json(report))
        libraries = (paths.shared, paths.static)
        manifest = manifest_of(folder, linkable, libraries, model, target, runner, provenance, ())
        write_file(folder / MANIFEST_NAME, to_json(manifest))
    return Artifact(path=destination, manifest=manifest)


def gpu_interface_symbols(prefix: str) -> tuple[str, ...]:
    """Return the functions that a GPU library shows, sorted."""
    return tuple(f"{prefix}_{name}" for name in ("create", "destroy", "model", "session_run"))


def _write_sources(
    folder: Path,
    model: Linkable,
    gpu: GpuSpec,
    image: DeviceImage,
    form: WeightsForm,
) -> list[str]:
    """Write headers, sources and the example; return the files to compile."""
    prefix = model.prefix
    runtime = files("compiler.artifact") / "runtime"
    interface = gpu_interface(model)
    texts: dict[str, str | bytes] = {
        "include/tunesmith.h": (runtime / "tunesmith.h").read_bytes(),
        f"include/{prefix}.h": render("gpu_model.h.j2", **interface),
        f"src/{prefix}.c": gpu_entry_source(model, gpu),
        f"src/{prefix}_kernels.cu": image.source,  # to read: the libraries hold its fatbin
        "examples/main.c": render("main.c.j2", **interface),
        "CMakeLists.txt": render(
            "CMakeLists.txt.j2", prefix=prefix, suffix=ELF.suffix, libraries="${CMAKE_DL_LIBS}"
        ),
    }
    texts |= {f"src/runtime/{name}": (runtime / name).read_bytes() for name in _RUNTIME_FILES}
    blobs = {
        **dict(weights_sources(model.weights, form, prefix)),
        **dict(device_image_sources(image.data, form, prefix)),
    }
    texts |= {f"src/{name}": data for name, data in blobs.items()}
    for name, data in texts.items():
        write_file(folder / name, data)
    compiled = [f"src/{name}" for name in blobs if name.endswith((".c", ".S"))]
    return [f"src/{prefix}.c", *(f"src/runtime/{name}" for name in _RUNTIME_SOURCES), *compiled]


def _build(
    folder: Path,
    model: Linkable,
    sources: list[str],
    triple: str,
    toolchain: Toolchain,
    jobs: int,
) -> LibraryPaths:
    """Compile, link and remove what was needed only for that."""
    build = folder / _BUILD_FOLDER
    build.mkdir()
    prefix = model.prefix
    objects = compile_sources(
        folder,
        sources,
        prefix=prefix,
        triple=triple,
        toolchain=toolchain,
        build=_BUILD_FOLDER,
        jobs=jobs,
    )
    paths = link_libraries(
        folder,
        objects,
        prefix=prefix,
        toolchain=toolchain,
        build=_BUILD_FOLDER,
        shown=gpu_interface_symbols(prefix),
        libraries=_LIBRARIES,
    )
    for file in build.iterdir():
        file.unlink()
    build.rmdir()
    return paths
