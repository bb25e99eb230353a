"""A microcontroller's C sources built for this machine, so that they run without an emulator."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from compiler.artifact.manifest import Artifact, TensorRecord
from compiler.library_arrays import TensorSpec, checked_inputs, tensor_specs
from compiler.pipeline import compile as compile_model
from compiler.program import IoMemory
from compiler.target_spec import RunnerSpec, TargetSpec, ToolchainSpec, load_target
from tests.onnx_models import save

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")


def host_mcu_spec() -> TargetSpec:
    """cortex-m4f, its code compiled by this machine's compiler."""
    return replace(
        load_target("cortex-m4f"),
        name="host-mcu",
        # Else constants with pointers in them would lie in memory that a loader writes.
        toolchain=ToolchainSpec(cc=("cc", "-fno-pie")),
        runner=RunnerSpec(kind="none"),
    )


def host_vector_mcu_spec() -> TargetSpec:
    """cortex-m55 with its vectors, its kernels by LLVM for this machine."""
    host = load_target("host")
    spec = load_target("cortex-m55")
    return replace(
        spec,
        name="host-vector-mcu",
        llvm=host.llvm,
        vector=replace(spec.vector, sums_products=False),  # an instruction of Helium only
        toolchain=replace(host_mcu_spec().toolchain, kernels="llvm"),
        runner=RunnerSpec(kind="none"),
    )


def bare_artifact(
    model: onnx.ModelProto,
    folder: Path,
    spec: TargetSpec | None = None,
    io_memory: IoMemory = "caller",
) -> Artifact:
    """The artifact of a model for a microcontroller, not verified."""
    path = save(model, folder / "net.onnx")
    spec = spec or host_mcu_spec()
    return compile_model(
        path, target=spec, output=folder / "out", io_memory=io_memory, verify="skip"
    )


def sources(artifact: Artifact) -> list[str]:
    """All C files of the library, relative to the artifact."""
    return sorted(str(p.relative_to(artifact.path)) for p in (artifact.path / "src").rglob("*.c"))


def objects(artifact: Artifact) -> list[str]:
    """Objects of kernels that LLVM made, relative to the artifact."""
    return sorted(str(p.relative_to(artifact.path)) for p in (artifact.path / "src").rglob("*.o"))


def run_bare(
    artifact: Artifact, inputs: Mapping[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """Compile the sources without a warning, and run the model once on memory of the caller."""
    manifest = artifact.manifest
    given = checked_inputs(tensor_specs(manifest.inputs), inputs)
    outputs = {s.name: np.empty(s.shape, s.array_dtype) for s in tensor_specs(manifest.outputs)}
    run = getattr(built_library(artifact, folder), f"{manifest.symbol_prefix}_run")
    arrays = (list(given), list(outputs.values()), regions_of(artifact))
    assert run(*(ctypes.byref(_pointers(group)) for group in arrays)) == 0
    return outputs


def run_in_arena(
    artifact: Artifact, sets: Sequence[Mapping[str, np.ndarray]], folder: Path
) -> list[dict[str, np.ndarray]]:
    """As `run_bare`, one set of inputs after another; inputs and outputs lie in the arena."""
    manifest = artifact.manifest
    regions = regions_of(artifact)

    def placed(record: TensorRecord, spec: TensorSpec) -> np.ndarray:
        assert record.place is not None
        end = record.place.offset + record.size_bytes
        region = regions[record.place.region]
        return region[record.place.offset : end].view(spec.array_dtype).reshape(spec.shape)

    ports = [
        [placed(*pair) for pair in zip(records, tensor_specs(records), strict=True)]
        for records in (manifest.inputs, manifest.outputs)
    ]
    run = getattr(built_library(artifact, folder), f"{manifest.symbol_prefix}_run")
    results = []
    for inputs in sets:
        given = checked_inputs(tensor_specs(manifest.inputs), inputs)
        for place, array in zip(ports[0], given, strict=True):
            place[...] = array
        assert run(*(ctypes.byref(_pointers(group)) for group in (*ports, regions))) == 0
        made = zip(manifest.outputs, ports[1], strict=True)
        results.append({record.name: array.copy() for record, array in made})
    return results


def regions_of(artifact: Artifact) -> list[np.ndarray]:
    """Memory for each region of a run."""
    return [_aligned(region.size_bytes) for region in artifact.manifest.memory.regions]


def built_library(artifact: Artifact, folder: Path, *more: str) -> ctypes.CDLL:
    """Compile the sources, and `more` files, without a warning to a shared library."""
    manifest = artifact.manifest
    library = folder / "bare.so"
    flags = (*STRICT, "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-Iinclude", "-Isrc")
    define = f"-DTUNESMITH_PREFIX={manifest.symbol_prefix}"
    command = (
        "cc",
        *flags,
        define,
        "-o",
        str(library),
        *sources(artifact),
        *objects(artifact),
        *more,
        "-lm",
    )
    done = subprocess.run(command, cwd=artifact.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def _aligned(size_bytes: int) -> np.ndarray:
    block = np.full(size_bytes + 64, 0xFF, np.uint8)  # not zero: nothing may rely on that
    start = -block.ctypes.data % 64
    return block[start : start + size_bytes]


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))
