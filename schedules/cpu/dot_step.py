"""One step of sums on x86: a vector of sums, to each some products of neighbours.

Products are of small integers or of bfloat16. A schedule brings the loops over lanes and products
innermost and marks them with an instruction; `compiler/kernels/dot_steps.py` puts it in. No step
saturates: two products of int16 cannot exceed 32 bits here, and `vpdpbusd` adds its four products
to the sum in 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir

from compiler.target_spec import TargetSpec, required_cpu_features
from schedules import roles, steps

# By the lanes of its sums: LLVM's name of an instruction, the feature it needs beyond the baseline.
_Instructions = dict[int, tuple[str, frozenset[str]]]
PAIRS: _Instructions = {
    4: ("llvm.x86.sse2.pmadd.wd", frozenset()),
    8: ("llvm.x86.avx2.pmadd.wd", frozenset({"avx2"})),
    16: ("llvm.x86.avx512.pmaddw.d.512", frozenset({"avx512bw"})),
}
FOURS: _Instructions = {
    4: ("llvm.x86.avx512.vpdpbusd.128", frozenset()),
    8: ("llvm.x86.avx512.vpdpbusd.256", frozenset()),
    16: ("llvm.x86.avx512.vpdpbusd.512", frozenset({"avx512vnni"})),
}
# Pairs of bfloat16, added to float32 (`LlvmSpec.multiplies_bfloats`). TVM has no vectors of them to
# call an intrinsic with: these are functions around one (`compiler/kernels/bfloats.py`).
BFLOATS: _Instructions = {
    lanes: (f"tunesmith_bfloat_pairs_{lanes}", frozenset()) for lanes in (4, 8, 16)
}
# AVX-512's VNNI has short vectors only with VL; processors without AVX-512 have their own.
_FOURS_FEATURES = (frozenset({"avx512vnni", "avx512vl"}), frozenset({"avxvnni"}))


def sums_pairs(spec: TargetSpec) -> bool:
    """Whether the machine sums two products of int16 in a step."""
    return spec.family == "cpu" and spec.llvm.architecture == "x86_64"  # SSE2 has it


def sums_fours(spec: TargetSpec) -> bool:
    """Whether the machine sums four products of uint8 and int8 in a step (VNNI)."""
    return sums_pairs(spec) and any(needed <= _features(spec) for needed in _FOURS_FEATURES)


def dot_step(
    sch: s_tir.Schedule, block: Any, spec: TargetSpec, lanes: int | None = None
) -> str | None:
    """The instruction for the lanes and products of a sum, None if the machine has none.

    The block is ``sums[..., L] += rows[...] * weights[..., L, G]``, G products in a step.

    Args:
        lanes: of those in the weights, how many a step has; None: all.
    """
    if not sums_pairs(spec):
        return None
    rows, weights = (read.source.ty for read in sch.get(block).reads[-2:])
    given, group = (int(extent) for extent in weights.shape[-2:])
    lanes = given if lanes is None else lanes
    kinds = (group, str(rows.dtype), str(weights.dtype))
    instructions: _Instructions = {}
    if kinds in ((2, "int16", "int8"), (2, "int16", "int16")):
        instructions = PAIRS
    elif kinds == (4, "uint8", "int8") and sums_fours(spec):
        instructions = FOURS
    elif kinds == (2, "bfloat16", "bfloat16") and spec.llvm.multiplies_bfloats:
        instructions = BFLOATS
    features = _features(spec)
    fitting = {
        width: name
        for width, (name, needed) in instructions.items()
        if lanes % width == 0 and needed <= features
    }
    return fitting[max(fitting)] if fitting else None


def step_lanes(step: str) -> int:
    """Return how many sums an instruction adds to; a step of more takes several."""
    return next(
        lanes
        for known in (PAIRS, FOURS, BFLOATS)
        for lanes, (name, _) in known.items()
        if name == step
    )


def is_of_bfloats(step: str) -> bool:
    """Whether an instruction adds products of bfloat16 to float32."""
    return any(name == step for name, _ in BFLOATS.values())


def _features(spec: TargetSpec) -> frozenset[str]:
    return frozenset(required_cpu_features(spec))


def sums_registers(spec: TargetSpec, step: str | None) -> int:
    """Registers for a tile of sums: one less where products stand in one before they are added."""
    names = [name for name, _ in PAIRS.values()]
    return spec.vector.register_count - (step in names)


def sums_vectors(lanes: int, step: str | None) -> int:
    """Registers of sums in a block of so many lanes."""
    return 1 if step is None else lanes // step_lanes(step)


def sums_by_steps(
    sch: s_tir.Schedule, block: Any, reduction: Any, tile: Sequence[Any], depth: int, step: str
) -> None:
    """As `steps.sums_in_registers`; the tile's last two loops, lanes and products, are a step."""
    *unrolled, lane, _ = tile
    for loop in unrolled:
        sch.unroll(loop)
    start = sch.decompose_reduction(block, reduction)
    sch.annotate(lane, roles.DOT_STEP, step)
    steps.unroll_tile(sch, start, depth)
