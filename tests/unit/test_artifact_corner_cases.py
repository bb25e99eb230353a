"""Programs at the edge: no kernels, no constants, scalars, no inputs, every dtype."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from compiler.artifact.manifest import Artifact, ModelInfo, Provenance, TargetInfo
from compiler.artifact.write import write_artifact
from compiler.library import load
from compiler.memory_plan import plan_memory
from compiler.program import ELEMENT_BYTES, Copy, Port, Program, Value, ValueKind
from compiler.toolchain import find_toolchain
from tests import handmade


def _write(folder: Path, program: Program) -> Artifact:
    return write_artifact(
        folder,
        model=ModelInfo(name="copies", digest="d" * 64),
        target=TargetInfo(
            name="host", family="cpu", triple=handmade.TRIPLE, fingerprint=handmade.FINGERPRINT
        ),
        program=program,
        kernels={},
        plan=plan_memory(program, {}),
        toolchain=find_toolchain(),
        provenance=Provenance(options={}, tool_versions={}, stages=(), records_used=()),
    )


def _compile_example(artifact: Artifact, folder: Path) -> str:
    """Return what the example prints on a ramp; it must compile without a warning."""
    flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Iinclude")
    command = ("cc", *flags, "examples/main.c", artifact.manifest.static_library)
    program = folder / "example"
    subprocess.run((*command, "-lpthread", "-o", program), cwd=artifact.path, check=True)
    return subprocess.run((program, "ramp"), capture_output=True, text=True, check=True).stdout


def _value(number: int, kind: ValueKind, dtype: str, shape: tuple[int, ...]) -> Value:
    return Value(id=number, kind=kind, dtype=dtype, shape=shape, storage=number)


def test_copies_of_every_dtype_and_a_scalar(tmp_path: Path) -> None:
    dtypes = sorted(ELEMENT_BYTES)
    count = len(dtypes)
    shapes = [() if dtype == "int64" else (2, 3) for dtype in dtypes]
    pairs = list(zip(dtypes, shapes, strict=True))
    ins = [_value(i, ValueKind.INPUT, *pair) for i, pair in enumerate(pairs)]
    outs = [_value(count + i, ValueKind.OUTPUT, *pair) for i, pair in enumerate(pairs)]
    program = Program(
        values=(*ins, *outs),
        constants={},
        calls=(),
        copies=tuple(Copy(source=i, destination=count + i) for i in range(count)),
        inputs=tuple(Port(name=f"in {dtype}", value=i) for i, dtype in enumerate(dtypes)),
        outputs=tuple(Port(name=f"out {d}", value=count + i) for i, d in enumerate(dtypes)),
    )
    artifact = _write(tmp_path / "copies", program)
    with load(artifact.path) as library:
        arrays = {
            spec.name: np.arange(np.prod(spec.shape, dtype=int))
            .reshape(spec.shape)
            .astype(spec.array_dtype)
            for spec in library.inputs
        }
        outputs = library.run(arrays)
    assert len(outputs) == count
    for name, array in arrays.items():
        found = outputs[name.replace("in ", "out ", 1)]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    printed = _compile_example(artifact, tmp_path).splitlines()
    assert "out int32: 0 1 2 3 4 5" in printed
    assert "out int64: 0" in printed


def test_model_without_inputs_gives_its_constant(tmp_path: Path) -> None:
    constant = np.arange(4, dtype=np.float32)
    program = Program(
        values=(
            _value(0, ValueKind.CONSTANT, "float32", (4,)),
            _value(1, ValueKind.OUTPUT, "float32", (4,)),
        ),
        constants={0: constant},
        calls=(),
        copies=(Copy(source=0, destination=1),),
        inputs=(),
        outputs=(Port(name="y", value=1),),
    )
    artifact = _write(tmp_path / "constant", program)
    with load(artifact.path, threads=2) as library:
        np.testing.assert_array_equal(library.run({})["y"], constant)
    assert _compile_example(artifact, tmp_path) == "y: 0 1 2 3\n"
