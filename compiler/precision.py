"""What products may be computed in and weights stored in, and where that is possible."""

from __future__ import annotations

from typing import get_args

from compiler.errors import TargetError
from compiler.onnx_import.model import Weights
from compiler.target_spec import Precision, TargetSpec, available_targets, load_target

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def require_precision(spec: TargetSpec, precision: Precision) -> None:
    """Refuse a precision that the target has no instructions for.

    Raises:
        TargetError: it names the targets that have them.
    """
    if precision in _precisions(spec):
        return
    able = (name for name in available_targets() if name != "host")
    names = [name for name in able if precision in _precisions(load_target(name))]
    have = ", ".join(_precisions(spec))
    raise TargetError(
        f"target {spec.name} has no instructions for --precision {precision}",
        why=f"its products are computed in: {have}; tensor cores have tf32 from sm_80 on, "
        "fp16 from sm_75 on, 64-bit Arm has fp16 from Armv8.2 with FEAT_FP16 on, x86-64 has bf16 "
        "with AVX512-BF16",
        fix=f"leave out --precision, or choose one of: {', '.join(names)}",
    )


def _precisions(spec: TargetSpec) -> tuple[Precision, ...]:
    if spec.gpu is not None:
        return spec.gpu.precisions
    if spec.family != "cpu":
        return ("float32",)
    reduced: tuple[tuple[Precision, bool], ...] = (
        ("fp16", spec.llvm.multiplies_halves),
        ("bf16", spec.llvm.multiplies_bfloats),
    )
    return ("float32", *(name for name, is_there in reduced if is_there))


def require_weights(spec: TargetSpec, weights: Weights) -> None:
    """Refuse a form of weights that the target's kernels do not read.

    Raises:
        TargetError: a GPU's products gather float32.
    """
    if weights == "fp16" and spec.family == "gpu":
        raise TargetError(
            f"target {spec.name} does not read weights in 16 bits (--weights fp16)",
            why="they are for CPUs and microcontrollers; a GPU has memory enough",
            fix="leave out --weights; --precision fp16 multiplies in 16 bits",
        )
