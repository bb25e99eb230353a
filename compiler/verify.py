"""Compare a compiled library with onnxruntime, and name the kernel that is wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from compiler.artifact.manifest import Artifact, read_artifact
from compiler.board_address import BoardAddress
from compiler.errors import (
    InputError,
    NotRunnableError,
    OtherMachineError,
    OtherProcessorError,
    VerificationError,
)
from compiler.onnx_import.half_weights import with_half_weights
from compiler.onnx_import.integer_io import with_integer_io
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.program import is_winograd
from compiler.runners.machine import this_machine
from compiler.runners.open_runner import open_runner
from compiler.runners.runner import Runner
from compiler.runners.vector_length import with_vector_bits
from compiler.verification.artifact_report import read_report
from compiler.verification.comparison import (
    WHOLE_MODEL_QUANTA,
    Comparison,
    Tolerance,
    Unit,
    compare,
    float_tolerance,
    worst,
)
from compiler.verification.graph_walk import GraphWalk
from compiler.verification.kernel_check import check_kernels
from compiler.verification.reference import version
from compiler.verification.result import (
    Decider,
    Status,
    Verification,
    write_verification,
)
from compiler.verification.rounding import differences_to_unrounded
from compiler.verification.verdict import judge
from compiler.verification_inputs import Arrays
from compiler.verification_trial import SEEDS, GivenInputs, Trial, choose_trial


def verify(
    artifact: str | Path,
    model: str | Path | Model,
    *,
    inputs: GivenInputs = None,
    per_kernel: bool = False,
    seeds: Sequence[int] = SEEDS,
    board: BoardAddress | None = None,
    vector_bits: int | None = None,
) -> Verification:
    """Check an artifact against onnxruntime and write its ``verification.json``.

    A model with quantizers that is too deep for the whole-model rule is judged kernel by kernel.

    Args:
        inputs: an .npz file or arrays by input name; drawn from the model if not given.
        per_kernel: check every kernel alone even if the outputs agree.
        seeds: one set of drawn inputs for each.
        board: run the library there instead of where its target says.
        vector_bits: length of scalable vectors in the emulator; its target's if None.

    Raises:
        VerificationError: an output differs, or the inputs exercise nothing.
        ArtifactError, InputError, ModelError: what was given cannot be used.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    result = check(
        artifact,
        loaded,
        inputs=inputs,
        per_kernel=per_kernel,
        seeds=seeds,
        board=board,
        vector_bits=vector_bits,
    )
    require_passed(loaded.name, result)
    return result


def check(
    artifact: str | Path,
    model: Model,
    *,
    inputs: GivenInputs = None,
    per_kernel: bool = False,
    seeds: Sequence[int] = SEEDS,
    board: BoardAddress | None = None,
    vector_bits: int | None = None,
) -> Verification:
    """As `verify`, but a failure is returned like any other result."""
    opened = read_artifact(Path(artifact))
    if vector_bits is not None:
        opened = with_vector_bits(opened, vector_bits)
    if opened.manifest.has_integer_io:
        model = with_integer_io(model)
    if opened.manifest.has_half_weights:
        model = with_half_weights(model)
    runner, refusal = _open(opened, board)
    if runner is None:
        result = _not_run(refusal, opened)
    else:
        _check_same_interface(opened, model)
        with runner:
            trial = choose_trial(model, inputs, seeds)
            try:
                result = _check(runner, model, trial, per_kernel=per_kernel)
            except OtherProcessorError as refusal:
                result = _not_run(f"{refusal.what}: {refusal.why}", opened)
        if result.status is Status.FAILED and opened.manifest.model.digest != model.digest:
            other = "this is not the ONNX file that was compiled (another sha256)"
            result = replace(result, reason=f"{result.reason}; {other}")
    write_verification(opened.verification_path, result)
    return result


def require_passed(name: str, result: Verification) -> None:
    """Raise VerificationError for a failed result; one that was not run is left to the caller.

    Args:
        name: what the error calls the library.
    """
    if result.status is not Status.FAILED:
        return
    if result.decided_by is Decider.NOTHING:
        raise VerificationError(
            f"{name}: the inputs tried do not exercise the model",
            why=result.reason.removeprefix("not exercised: "),
            fix="give real inputs with --inputs arrays.npz (one array per input, by its name)",
        )
    raise VerificationError(
        f"{name}: the library does not agree with onnxruntime",
        why=result.reason,
        fix="do not use it; report these figures with the model, they show a fault of the compiler",
    )


def _check_same_interface(artifact: Artifact, model: Model) -> None:
    """Raise InputError unless the artifact has the model's inputs and outputs."""
    manifest = artifact.manifest
    for what, ours, theirs in (
        ("inputs", manifest.inputs, model.inputs),
        ("outputs", manifest.outputs, model.outputs),
    ):
        compiled = [(tensor.name, tensor.dtype, tensor.shape) for tensor in ours]
        given = [(tensor.name, tensor.dtype, tensor.shape) for tensor in theirs]
        if compiled != given:
            raise InputError(
                f"{artifact.path}: was not compiled from this model with these shapes",
                why=f"{what} of the library: {_listing(compiled)}; of the model: {_listing(given)}",
                fix="give the ONNX file that was compiled, with the same --shape and --value",
            )


def _listing(tensors: Sequence[tuple[str, str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, dtype, shape in tensors) or "none"


def whole_model_tolerance(
    walk: GraphWalk, name: str, dtype: str, precision: str = "float32"
) -> Tolerance:
    """The rule for a model output: quanta behind a quantizer, else by dtype and precision."""
    is_float = np.dtype(dtype).kind == "f"
    if not is_float and not walk.is_quantized_integer(name):
        return float_tolerance(dtype, precision)
    quantum = walk.quantum(name)
    if quantum is None:
        return float_tolerance(dtype, precision)
    return Tolerance(
        unit=Unit.QUANTA, limit=WHOLE_MODEL_QUANTA, quantum=quantum if is_float else 1.0
    )


def _open(artifact: Artifact, board: BoardAddress | None) -> tuple[Runner | None, str]:
    """Return what runs the library, or None and why nothing here can."""
    try:
        return open_runner(artifact, board=board), ""
    except (OtherMachineError, NotRunnableError) as refusal:
        # While it is compiled, the artifact has a name that the user will never see.
        return None, f"{refusal.what}: {refusal.why}".replace(str(artifact.path), "the library")


def _check(runner: Runner, model: Model, trial: Trial, *, per_kernel: bool) -> Verification:
    found = runner.run(trial.inputs).outputs
    outputs = _compare_outputs(runner, model, trial, found)
    base = Verification(
        status=Status.FAILED,
        reason="",
        decided_by=Decider.WHOLE_MODEL,
        outputs=outputs,
        kernels=(),
        inputs=trial.source,
        seeds=trial.seeds,
        reference_uncertainty=trial.uncertainty,
        onnxruntime_version=version(),
        machine=runner.machine,
        precision=runner.artifact.manifest.precision,
        weights=model.weights,
        rounding_differences=differences_to_unrounded(model, trial.inputs, found),
    )
    if trial.unexercised:
        reasons = "; ".join(f"output {name!r} {why}" for name, why in trial.unexercised.items())
        return replace(base, decided_by=Decider.NOTHING, reason=f"not exercised: {reasons}")
    agrees = all(output.passed for output in outputs)
    wanted = _kernels_to_check(runner.artifact, everything=per_kernel or not agrees)
    if wanted:
        kernels = check_kernels(runner, model, trial.inputs[0])
        base = replace(base, kernels=tuple(k for k in kernels if k.index in wanted))
    return judge(base, agrees=agrees, quantized=GraphWalk(model.proto).has_quantizers)


def _kernels_to_check(artifact: Artifact, *, everything: bool) -> set[int]:
    """Kernel calls whose own check is part of the result: Winograd's always."""
    calls = read_report(artifact).calls
    return {call.index for call in calls if everything or is_winograd(call.kernel)}


def _compare_outputs(
    runner: Runner, model: Model, trial: Trial, found: Sequence[Arrays]
) -> tuple[Comparison, ...]:
    walk = GraphWalk(model.proto)
    figures = []
    for info in model.outputs:
        tolerance = whole_model_tolerance(
            walk, info.name, info.dtype, runner.artifact.manifest.precision
        )
        pairs = zip(trial.expected, found, strict=True)
        figures.append(
            worst(
                [
                    compare(info.name, want[info.name], got[info.name], tolerance)
                    for want, got in pairs
                ]
            )
        )
    return tuple(figures)


def _not_run(reason: str, artifact: Artifact) -> Verification:
    return Verification(
        status=Status.NOT_RUN,
        reason=reason,
        decided_by=Decider.NOTHING,
        outputs=(),
        kernels=(),
        inputs="none",
        seeds=(),
        reference_uncertainty=0.0,
        onnxruntime_version=version(),
        machine=this_machine(),
        precision=artifact.manifest.precision,
        weights="fp16" if artifact.manifest.has_half_weights else "model",
    )


class _CallableModule(ModuleType):
    """Importing this module puts it in the place of the function ``compiler.verify``."""

    def __call__(self, *arguments: Any, **options: Any) -> Verification:
        return verify(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
