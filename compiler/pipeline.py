"""The whole road: ONNX file and target in, checked artifact out. The only part that knows all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compiler.artifact.folder import emptied, replaced_folder
from compiler.artifact.manifest import Artifact, ModelInfo, Provenance, RunnerInfo, TargetInfo
from compiler.artifact.weights import WeightsForm
from compiler.code_generation import GeneratedCode
from compiler.errors import LimitError, VerificationError
from compiler.families import FamilyBuild, family_build
from compiler.fit import Fitted
from compiler.io_memory import require_io_memory
from compiler.limits import check_library_limit, with_limits
from compiler.onnx_import.half_weights import with_half_weights
from compiler.onnx_import.integer_io import with_integer_io
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Io, Model, Weights
from compiler.onnx_import.support import require_supported
from compiler.precision import require_precision, require_weights
from compiler.program import IoMemory
from compiler.running_limits import check_running_limits
from compiler.target_spec import Precision, TargetSpec, load_target, required_cpu_features
from compiler.toolchain import Toolchain, find_toolchain
from compiler.tuning.folder import RecordError
from compiler.tuning.store import NO_RECORDS, Records, read_records
from compiler.tuning.target_key import TargetKey, target_key
from compiler.verification_inputs import checked_inputs, read_inputs
from compiler.version import VERSION

if TYPE_CHECKING:
    import numpy as np

VerifyMode = Literal["auto", "require", "skip"]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Build:
    """What is to be built, everything checked that can be before work begins."""

    model: Model
    spec: TargetSpec
    family: FamilyBuild
    toolchain: Toolchain
    records: Records
    fingerprint: str
    options: Mapping[str, Any]
    weights_form: WeightsForm
    jobs: int


def compile(  # the verb of the command line
    model: str | Path | Model,
    *,
    target: str | Path | TargetSpec,
    output: str | Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, float | int | bool] | None = None,
    threads: int | None = None,
    exact: bool = False,
    precision: Precision = "float32",
    io: Io = "model",
    io_memory: IoMemory = "caller",
    records: str | Path | None = None,
    require_records: bool = False,
    inputs: str | Path | Mapping[str, np.ndarray] | None = None,
    limits: Mapping[str, int] | None = None,
    verify: VerifyMode = "auto",
    weights: Weights = "model",
    weights_form: WeightsForm = "incbin",
    jobs: int = 1,
    dump_stages: str | Path | None = None,
    report: Report = lambda _: None,
    warn: Report = lambda _: None,
) -> Artifact:
    """Compile an ONNX model to a stand-alone library and check it against onnxruntime.

    Args:
        target: a target's name, the path of a spec, or a spec.
        output: the artifact folder; it appears when everything has succeeded, or not at all.
        shapes: shapes for inputs with dynamic dimensions, by input name.
        values: values for scalar inputs that become constants, by input name.
        threads: how many threads a session uses unless told otherwise; the target's cores if None.
        exact: no algorithm that trades accuracy for speed (Winograd).
        precision: what the factors of convolutions and matrix products are rounded to where the
            target multiplies such numbers faster; sums are float32.
        io: "int8" leaves quantizers of float inputs and dequantizers of float outputs to the
            caller, who hands over integers; "model" takes and gives what the ONNX file says.
        io_memory: "arena" gives inputs and outputs places in the arena, which later values reuse:
            a run overwrites its inputs. For microcontrollers.
        records: a folder of tuning records; None uses no record.
        require_records: refuse the model if a kernel has no record that can be used.
        inputs: arrays for the check, or an .npz file with them; drawn from the model if None.
        limits: replace the target's limits, by name (``ram_bytes``).
        verify: "auto" checks where this machine can run the target, "require" makes it an error
            if it cannot, "skip" does not check.
        weights: "fp16" stores float32 weights in 16 bits and widens them where they are read; the
            library is then compared with the model with rounded weights.
        weights_form: how weights enter the library.
        jobs: how many kernels are compiled at a time; does not change a byte of the output.
        dump_stages: a folder for the module after each stage, for reading.
        report: called with the name of each step before it starts.
        warn: called with what was passed over: lines of record files that do not check, choices
            of records with which a limit does not hold.

    Raises:
        CompilerError: with what happened, why, and how to fix it.
    """
    spec = target if isinstance(target, TargetSpec) else load_target(target)
    spec = with_limits(spec, limits or {})
    require_precision(spec, precision)
    require_io_memory(spec, io_memory)
    require_weights(spec, weights)
    family = family_build(spec)
    toolchain = find_toolchain(spec.toolchain.cc)
    report("load")
    if not isinstance(model, Model):
        model = load_model(Path(model), shapes=shapes or {}, values=values or {})
    require_supported(model)
    if io == "int8":
        model = with_integer_io(model)
    if weights == "fp16":
        model = with_half_weights(model)
    _check_inputs(inputs, model)
    threads = spec.cores.count if threads is None else threads
    key = target_key(spec, threads)
    build = _Build(
        model=model,
        spec=spec,
        family=family,
        toolchain=toolchain,
        records=_read_records(records, key, warn),
        fingerprint=key.fingerprint,
        options={
            "threads": threads,
            "exact": exact,
            "precision": precision,
            "io": model.io,
            "weights": model.weights,
            "weights_form": weights_form,
            "records": records is not None,
            **({} if io_memory == "caller" else {"io_memory": io_memory}),
        },
        weights_form=weights_form,
        jobs=jobs,
    )
    destination = Path(output)
    with replaced_folder(destination) as folder:  # an output that cannot be written is refused now
        dump_folder = None if dump_stages is None else Path(dump_stages)
        generate = partial(
            family.generate_code,
            model,
            spec.with_cores(threads),
            exact=exact,
            precision=precision,
            jobs=jobs,
            dump_stages=dump_folder,
            report=report,
            io_memory=io_memory,
        )
        artifact = _made(folder, build, generate, key if require_records else None, report, warn)
        if verify != "skip":
            report("verify")
            _verify(folder, model, inputs, verify)
            check_running_limits(spec, folder, warn)
    return replace(artifact, path=destination)


def _made(
    folder: Path,
    build: _Build,
    generate: Callable[..., GeneratedCode],
    required: TargetKey | None,
    report: Report,
    warn: Report,
) -> Artifact:
    """Generate, plan and write; without the choices of records if a limit does not hold with them.

    Args:
        required: the key of records that every kernel must have.
    """
    code = generate(build.records)
    try:
        return _finished(folder, build, code, generate, required, report)
    except LimitError as over:
        if all(one.passed_over for one in code.program.choices):
            raise
        problem = f"over a limit with the choices of records: {over.what.splitlines()[0]}"
    warn(f"choices of records passed over: {problem}")
    emptied(folder)
    chosen = tuple(
        replace(one, passed_over=one.passed_over or problem) for one in code.program.choices
    )
    build = replace(build, records=replace(build.records, choices={}))
    code = generate(build.records)
    code = replace(code, program=replace(code.program, choices=chosen))
    return _finished(folder, build, code, generate, required, report)


def _finished(
    folder: Path,
    build: _Build,
    code: GeneratedCode,
    generate: Callable[..., GeneratedCode],
    required: TargetKey | None,
    report: Report,
) -> Artifact:
    report("plan-memory")
    fitted = build.family.plan(code, build.spec, partial(generate, build.records, smaller=True))
    if required is not None:
        _require_records(fitted.code, required)
    return _write(folder, build, fitted, report)


def _check_inputs(inputs: str | Path | Mapping[str, np.ndarray] | None, model: Model) -> None:
    """Refuse inputs that do not fit before time is spent on the library."""
    if isinstance(inputs, str | Path):
        read_inputs(Path(inputs), model)
    elif inputs is not None:
        checked_inputs(inputs, model)


def _read_records(folder: str | Path | None, key: TargetKey, warn: Report) -> Records:
    if folder is None:
        return NO_RECORDS
    records = read_records(Path(folder), key)
    for line in records.passed_over:
        warn(f"record passed over: {line}")
    for other in records.stale:
        warn(
            f"records of {other.name} by {other.tools} are stale and not used: "
            f"this build is by {key.tools}"
        )
    return records


def _require_records(code: GeneratedCode, key: TargetKey) -> None:
    without = {
        name: kernel.schedule.reason.partition(";")[0]
        for name, kernel in sorted(code.kernels.items())
        if kernel.schedule.source != "record"
    }
    if without:
        named = "\n".join(f"    {name}: {reason}" for name, reason in without.items())
        raise RecordError(
            f"{len(without)} of {len(code.kernels)} kernels have no tuning record\n{named}",
            why=f"--require-records was given, and these have none for {key.name} with "
            f"{key.threads} threads by {key.tools}",
            fix="give the folder that has them (--records DIR), or leave out --require-records",
        )


def _tool_versions(toolchain: Toolchain, code: GeneratedCode) -> dict[str, str]:
    names = ("apache-tvm", "apache-tvm-ffi", "onnx", "onnxruntime", "numpy")
    found = {"tunesmith": VERSION, "cc": toolchain.version, **{n: version(n) for n in names}}
    return found if code.device_image is None else found | {"nvcc": code.device_image.compiler}


def _write(folder: Path, build: _Build, fitted: Fitted, report: Report) -> Artifact:
    """Write the artifact and hold its library to the limit."""
    spec, model, code = build.spec, build.model, fitted.code
    report("link")
    artifact = build.family.write_artifact(
        folder,
        model=ModelInfo(name=model.name, digest=model.digest),
        target=TargetInfo(
            name=spec.name,
            family=spec.family,
            triple=spec.llvm.triple,
            fingerprint=build.fingerprint,
        ),
        runner=RunnerInfo(
            kind=spec.runner.kind,
            command=spec.runner.command,
            cc=spec.toolchain.cc,
            board=spec.runner.board,
        ),
        program=code.program,
        kernels=code.kernels,
        plan=fitted.plan,
        toolchain=build.toolchain,
        provenance=Provenance(
            options=build.options,
            tool_versions=_tool_versions(build.toolchain, code),
            stages=code.stages,
            records_used=code.records_used,
        ),
        required_features=required_cpu_features(spec),
        relax_plan_bytes=code.relax_plan_bytes,
        weights=build.weights_form,
        jobs=build.jobs,
        **({} if code.device_image is None else {"device_image": code.device_image}),
    )
    check_library_limit(spec, artifact.library_path.stat().st_size)
    return artifact


def _verify(folder: Path, model: Model, inputs: Any, mode: VerifyMode) -> None:
    from compiler.verification.result import Status
    from compiler.verify import verify

    result = verify(folder, model, inputs=inputs)
    if result.status is Status.NOT_RUN and mode == "require":
        raise VerificationError(
            "the library was not checked",
            why=f"this machine cannot run it: {result.reason}",
            fix="compile on a machine that can, or leave out --require-verify",
        )
