"""A microcontroller's C sources built for this machine, so that they run without an emulator."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from compiler.artifact.manifest import Artifact
from compiler.library_arrays import checked_inputs, tensor_specs
from compiler.pipeline import compile as compile_model
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


def bare_artifact(model: onnx.ModelProto, folder: Path, spec: TargetSpec | None = None) -> Artifact:
    """The artifact of a model for a microcontroller, not verified."""
    path = save(model, folder / "net.onnx")
    return compile_model(path, target=spec or host_mcu_spec(), output=folder / "out", verify="skip")


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
        "-lm",
    )
    done = subprocess.run(command, cwd=artifact.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    given = checked_inputs(tensor_specs(manifest.inputs), inputs)
    outputs = {s.name: np.empty(s.shape, s.array_dtype) for s in tensor_specs(manifest.outputs)}
    regions = [_aligned(region.size_bytes) for region in manifest.memory.regions]
    run = getattr(ctypes.CDLL(str(library)), f"{manifest.symbol_prefix}_run")
    arrays = (list(given), list(outputs.values()), regions)
    assert run(*(ctypes.byref(_pointers(group)) for group in arrays)) == 0
    return outputs


def _aligned(size_bytes: int) -> np.ndarray:
    block = np.full(size_bytes + 64, 0xFF, np.uint8)  # not zero: nothing may rely on that
    start = -block.ctypes.data % 64
    return block[start : start + size_bytes]


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))
