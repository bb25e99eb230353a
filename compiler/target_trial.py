"""Can this machine build and try libraries for a target? One operator is the proof."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.errors import CompilerError, ToolchainError
from compiler.pipeline import compile as compile_model
from compiler.runners.qemu_user import emulator_of
from compiler.target_spec import TargetSpec, load_target
from compiler.toolchain import find_toolchain


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetTrial:
    """What was found; `status` is that of the one-operator model."""

    target: str
    toolchain: str  # what the compiler says of itself; empty if there is none
    runner: str  # the emulator's version, or the runner's kind; empty if it is missing
    status: str  # "passed", "failed", "not run"
    reason: str

    def as_json(self) -> dict[str, Any]:
        names = ("target", "toolchain", "runner", "status", "reason")
        return {name: getattr(self, name) for name in names}


def try_target(name_or_path: str) -> TargetTrial:
    """Look for the target's toolchain and runner, then compile a matrix product and run it.

    Raises:
        TargetError: there is no such target, or its file is wrong.
    """
    spec = load_target(name_or_path)
    status, reason = _one_operator(spec)
    return TargetTrial(
        target=spec.name,
        toolchain=_toolchain(spec),
        runner=_runner(spec),
        status=status,
        reason=reason,
    )


def _toolchain(spec: TargetSpec) -> str:
    try:
        return find_toolchain(spec.toolchain.cc).version
    except ToolchainError:
        return ""


def _runner(spec: TargetSpec) -> str:
    if spec.runner.board is not None:
        return f"rpc, {spec.runner.board}"  # whether it answers, the operator shows
    if spec.runner.kind != "emulator":
        return spec.runner.kind
    try:
        emulator = emulator_of(spec.runner.command, spec.name, spec.llvm.triple)
    except ToolchainError:
        return ""
    return f"{emulator.command[0]} {emulator.version}"


def _one_operator(spec: TargetSpec) -> tuple[str, str]:
    """Compile and check ``y = x W``; return the status and, unless it passed, why."""
    with TemporaryDirectory(prefix="tunesmith-target-") as folder:
        path = Path(folder) / "matmul.onnx"
        onnx.save(_matmul(), str(path))
        try:
            artifact = compile_model(path, target=spec, output=Path(folder) / "out", threads=1)
        except CompilerError as error:
            return "failed", f"{error.what}: {error.why} ({error.fix})"
        verification = json.loads(artifact.verification_path.read_text(encoding="utf-8"))
    return str(verification["status"]), str(verification["reason"])


def _matmul() -> onnx.ModelProto:
    weights = np.linspace(-1, 1, 8 * 16, dtype=np.float32).reshape(8, 16)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "one-operator",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 16])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)
