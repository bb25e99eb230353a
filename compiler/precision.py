"""What convolutions and matrix products may be computed in, and where that is possible."""

from __future__ import annotations

from typing import get_args

from compiler.errors import TargetError
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
        "fp16 from sm_75 on",
        fix=f"leave out --precision, or choose one of: {', '.join(names)}",
    )


def _precisions(spec: TargetSpec) -> tuple[Precision, ...]:
    return ("float32",) if spec.gpu is None else spec.gpu.precisions
