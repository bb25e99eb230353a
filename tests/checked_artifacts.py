"""Artifacts with the ONNX files they stand for, made without the compiler.

Three kernel calls: ``y = z - mean(z)`` with ``z = (x @ w1 + b) @ w2 + b``, and a copy of x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from compiler.artifact.manifest import Artifact, ModelInfo, Provenance, TargetInfo
from compiler.artifact.write import write_artifact
from compiler.memory_plan import plan_memory
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.program import CompiledKernel, Program
from compiler.toolchain import find_toolchain
from tests import handmade
from tests.onnx_models import make_model, save

# The second buffer has no name: as a value inside an operator that was taken apart.
ONNX_NAMES = {0: "in:put", 4: "first", 6: "y", 7: "Y copy"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """An artifact and the ONNX file that it should agree with."""

    artifact: Artifact
    path: Path
    model: Model


def onnx_model(program: Program) -> onnx.ModelProto:
    """Return the ONNX graph of `handmade.two_layers`."""
    nodes = [
        helper.make_node("MatMul", ["in:put", "w1"], ["p1"], name="first"),
        helper.make_node("Add", ["p1", "b"], ["first"], name="first_bias"),
        helper.make_node("MatMul", ["first", "w2"], ["p2"], name="second"),
        helper.make_node("Add", ["p2", "b"], ["z"], name="second_bias"),
        helper.make_node("ReduceMean", ["z"], ["m"], name="mean", keepdims=1),
        helper.make_node("Sub", ["z", "m"], ["y"], name="sub"),
        helper.make_node("Identity", ["in:put"], ["Y copy"], name="copy"),
    ]
    constants = program.constants
    square = ("float32", [handmade.SIZE, handmade.SIZE])
    return make_model(
        nodes,
        inputs={"in:put": square},
        outputs={"y": square, "Y copy": square},
        constants={"w1": constants[1], "b": constants[2], "w2": constants[3]},
    )


def make_case(folder: Path, wrong_weights: Mapping[int, np.ndarray] | None = None) -> Case:
    """Write both; `wrong_weights` replace constants in the artifact only."""
    right = handmade.two_layers(seed=1)
    path = save(onnx_model(right), folder / "kws.onnx")
    program = replace(
        right,
        values=tuple(replace(value, onnx_name=ONNX_NAMES.get(value.id)) for value in right.values),
        constants={**right.constants, **(wrong_weights or {})},
        outputs=tuple(replace(port, quantization=None) for port in right.outputs),
    )
    kernels = handmade.kernels("kws")
    model = load_model(path)
    artifact = _write(folder / "artifact", program, kernels, model.digest)
    return Case(artifact=artifact, path=path, model=model)


def _write(
    folder: Path, program: Program, kernels: Mapping[str, CompiledKernel], digest: str
) -> Artifact:
    return write_artifact(
        folder,
        model=ModelInfo(name="kws", digest=digest),
        target=TargetInfo(
            name="host", family="cpu", triple=handmade.TRIPLE, fingerprint=handmade.FINGERPRINT
        ),
        program=program,
        kernels=kernels,
        plan=plan_memory(program, {name: kernel.memory for name, kernel in kernels.items()}),
        toolchain=find_toolchain(),
        provenance=Provenance(options={}, tool_versions={}, stages=(), records_used=()),
    )
