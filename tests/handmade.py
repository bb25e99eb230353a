"""Programs written by hand, whose kernels are C files compiled by the host's compiler."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from compiler.artifact.manifest import Artifact, ModelInfo, Provenance, TargetInfo
from compiler.artifact.weights import WeightsForm
from compiler.artifact.write import write_artifact
from compiler.memory_plan import plan_memory
from compiler.program import (
    CompiledKernel,
    Copy,
    KernelCall,
    KernelMemory,
    Phase,
    Port,
    Program,
    Quantization,
    ScheduleOutcome,
    Value,
    ValueKind,
)
from compiler.toolchain import find_toolchain

C_SOURCES = Path(__file__).parent / "c"
SIZE = 64
TRIPLE = "x86_64-unknown-linux-gnu"
FINGERPRINT = "f" * 64


@cache
def compile_kernel(source: str, *defines: str) -> bytes:
    """Return the object of ``tests/c/<source>``, made without a path in it."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernel.o"
        command = ("cc", "-O2", "-fPIC", "-c", "-o", str(made), *(f"-D{d}" for d in defines))
        subprocess.run((*command, source), cwd=C_SOURCES, check=True)
        return made.read_bytes()


def _kernel(
    name: str, symbols: tuple[str, ...], object_code: bytes, memory: KernelMemory
) -> CompiledKernel:
    return CompiledKernel(
        name=name,
        phases=tuple(Phase(symbol=symbol, extent=SIZE) for symbol in symbols),
        memory=memory,
        schedule=ScheduleOutcome(source="fallback", name="by hand"),
        object_code=object_code,
        code_bytes=len(object_code),
    )


def kernels(prefix: str) -> dict[str, CompiledKernel]:
    """Return `dense`, whose symbol carries `prefix`, and `center`, whose symbols do not."""
    dense = f"{prefix}_dense"
    return {
        "dense": _kernel(
            "dense",
            (dense,),
            compile_kernel("dense.c", f"SYMBOL={dense}"),
            KernelMemory(worker_scratch_bytes=4 * SIZE),
        ),
        "center": _kernel(
            "center",
            ("center_0", "center_1"),
            compile_kernel("center.c", "SYMBOL_0=center_0", "SYMBOL_1=center_1"),
            KernelMemory(scratch_bytes=(4 * SIZE,), in_place=((0, 0),)),
        ),
    }


def _values() -> Iterator[tuple[ValueKind, tuple[int, ...]]]:
    square, row = (SIZE, SIZE), (SIZE,)
    yield ValueKind.INPUT, square  # 0 x
    yield ValueKind.CONSTANT, square  # 1 w1
    yield ValueKind.CONSTANT, row  # 2 bias of both layers
    yield ValueKind.CONSTANT, square  # 3 w2
    yield ValueKind.BUFFER, square  # 4 after the first layer
    yield ValueKind.BUFFER, square  # 5 after the second
    yield ValueKind.OUTPUT, square  # 6 y
    yield ValueKind.OUTPUT, square  # 7 copy of x
    yield ValueKind.CONSTANT, row  # 8 same bytes as 2


def two_layers(seed: int) -> Program:
    """Return ``y = center(dense(dense(x)))`` and a copy of x, over float32[64, 64]."""
    random = np.random.default_rng(seed)
    bias = random.standard_normal(SIZE, dtype=np.float32)
    weights = random.standard_normal((2, SIZE, SIZE), dtype=np.float32) / np.float32(8)
    values = tuple(
        Value(id=i, kind=kind, dtype="float32", shape=shape, storage=i)
        for i, (kind, shape) in enumerate(_values())
    )
    dense = {"kernel": "dense", "operator": "MatMul+Add", "macs": SIZE**3}
    return Program(
        values=values,
        constants={1: weights[0], 2: bias, 3: weights[1], 8: bias.copy()},
        calls=(
            KernelCall(inputs=(0, 1, 2), outputs=(4,), onnx_nodes=("first",), **dense),  # type: ignore[arg-type]  # mixed dict
            KernelCall(inputs=(4, 3, 8), outputs=(5,), onnx_nodes=("second",), **dense),  # type: ignore[arg-type]  # mixed dict
            KernelCall(
                kernel="center",
                inputs=(5,),
                outputs=(6,),
                operator='Sub */ "?',
                onnx_nodes=("mean", "sub"),
                macs=SIZE**3,  # so that its phases are worth threads
            ),
        ),
        copies=(Copy(source=0, destination=7),),
        inputs=(Port(name="in:put", value=0),),
        outputs=(
            Port(name="y", value=6, quantization=Quantization(scale=0.25, zero_point=-3)),
            Port(name="Y copy", value=7),
        ),
    )


def expected(program: Program, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the library should give, computed in float64."""
    layer = x.astype(np.float64)
    for weight in (1, 3):
        layer = layer @ program.constants[weight] + program.constants[2]
    return {"y": layer - layer.mean(), "Y copy": x}


def sample(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((SIZE, SIZE), dtype=np.float32)


def build(
    destination: Path,
    *,
    name: str = "kws",
    seed: int = 1,
    features: tuple[str, ...] = (),
    weights: WeightsForm = "incbin",
    jobs: int = 2,
) -> Artifact:
    """Write the artifact of `two_layers` under the model name `name`."""
    program = two_layers(seed)
    made = kernels(name)
    return write_artifact(
        destination,
        model=ModelInfo(name=name, digest="d" * 64),
        target=TargetInfo(name="host", family="cpu", triple=TRIPLE, fingerprint=FINGERPRINT),
        program=program,
        kernels=made,
        plan=plan_memory(program, {key: kernel.memory for key, kernel in made.items()}),
        toolchain=find_toolchain(),
        provenance=Provenance(
            options={"threads": 2, "shapes": {"x": [64, 64]}},
            tool_versions={"tunesmith": "0", "cc": "test"},
            stages=("legalize", "fuse"),
            records_used=(),
        ),
        required_features=features,
        weights=weights,
        jobs=jobs,
    )
