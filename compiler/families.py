"""What differs between families of targets: how code is generated and how it becomes an artifact.

How an artifact then runs is chosen from its manifest (`runners.open_runner`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from compiler.artifact.board import board_of
from compiler.artifact.library_size import bare_library_bytes, shared_library_bytes
from compiler.artifact.manifest import Artifact
from compiler.artifact.write import write_artifact
from compiler.artifact.write_gpu import write_gpu_artifact
from compiler.artifact.write_mcu import write_mcu_artifact
from compiler.code_generation import (
    EstimatedCode,
    GeneratedCode,
    Lowering,
    cpu_lowering,
    estimate_code,
    generate_code,
)
from compiler.errors import TargetError
from compiler.fit import Fitted, fit, place_hosted, place_on_board, plan_hosted
from compiler.gpu_code_generation import estimate_gpu_code, generate_gpu_code, gpu_lowering
from compiler.mcu_code_generation import (
    estimate_mcu_code,
    generate_mcu_code,
    mcu_code_lowering,
    mcu_lowering,
)
from compiler.program import CompiledKernel
from compiler.target_spec import TargetSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyBuild:
    """The parts of `compile` and `inspect` that a family has for itself."""

    generate_code: Callable[..., GeneratedCode]  # arguments of code_generation.generate_code
    # Code, spec, and what makes the code again, smaller.
    plan: Callable[[GeneratedCode, TargetSpec, Callable[[], GeneratedCode]], Fitted]
    write_artifact: Callable[..., Artifact]  # arguments of artifact.write.write_artifact
    estimate_code: Callable[..., EstimatedCode]  # arguments of generate_code
    place: Callable[[GeneratedCode, TargetSpec], Fitted]  # as `plan`, whatever the limits are
    # How kernels are found and scheduled, without the target's own compiler, and by what spec.
    lowering: Callable[..., tuple[Lowering, TargetSpec]]
    # The like with the target's own compiler: as `generate_code` makes code.
    code_lowering: Callable[..., tuple[Lowering, TargetSpec]]
    # Bytes of a library beside its weights, of kernels of `estimate_code`; None: not known.
    library_bytes: Callable[[Collection[CompiledKernel]], int] | None = None
    may_be_smaller: bool = False  # whether the code can be generated again with `smaller=True`


def _mcu_build(spec: TargetSpec) -> FamilyBuild:
    return FamilyBuild(
        generate_code=generate_mcu_code,
        plan=fit,
        write_artifact=partial(write_mcu_artifact, board=board_of(spec)),
        estimate_code=estimate_mcu_code,
        place=place_on_board,
        lowering=mcu_lowering,
        code_lowering=mcu_code_lowering,
        library_bytes=partial(
            bare_library_bytes, is_riscv=spec.llvm.architecture.startswith("riscv")
        ),
        may_be_smaller=True,
    )


def _gpu_build(spec: TargetSpec) -> FamilyBuild:
    assert spec.gpu is not None, spec.name  # of family gpu: target_checks.py
    return FamilyBuild(
        generate_code=generate_gpu_code,
        plan=plan_hosted,
        write_artifact=partial(write_gpu_artifact, gpu=spec.gpu),
        estimate_code=estimate_gpu_code,
        place=place_hosted,
        lowering=gpu_lowering,
        code_lowering=gpu_lowering,
    )


def _cpu_build(spec: TargetSpec) -> FamilyBuild:
    return FamilyBuild(
        generate_code=generate_code,
        plan=plan_hosted,
        write_artifact=write_artifact,
        estimate_code=estimate_code,
        place=place_hosted,
        lowering=cpu_lowering,
        code_lowering=cpu_lowering,
        library_bytes=partial(shared_library_bytes, spec=spec),
    )


_BUILDS: Mapping[str, Callable[[TargetSpec], FamilyBuild]] = {
    "cpu": _cpu_build,
    "mcu": _mcu_build,
    "gpu": _gpu_build,
}


def family_build(spec: TargetSpec) -> FamilyBuild:
    """Return how artifacts for `spec` are made.

    Raises:
        TargetError: nothing is made for targets of its family.
    """
    build = _BUILDS.get(spec.family)
    if build is None:
        raise TargetError(
            f"target {spec.name} is of the family `{spec.family}`",
            why=f"code is generated for: {', '.join(_BUILDS)}",
            fix="choose another target (`tunesmith targets` lists them)",
        )
    return build(spec)
