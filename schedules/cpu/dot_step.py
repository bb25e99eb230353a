"""One step of integer sums on x86: a vector of sums, to each some products of neighbours.

A schedule brings the loops over lanes and products innermost; `tensorize` proves that they are the
step's plain description and puts the instruction in. No step saturates: 16-bit pairs cannot exceed
32 bits, and `vpdpbusd` adds its four products to the sum in 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tvm import s_tir
from tvm.script import tirx as T  # noqa: N812
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec, required_cpu_features
from schedules import steps

# Instructions by the lanes of their sums: (LLVM's name, feature).
_PAIRS = {
    4: ("llvm.x86.sse2.pmadd.wd", None),
    8: ("llvm.x86.avx2.pmadd.wd", "avx2"),
    16: ("llvm.x86.avx512.pmaddw.d.512", "avx512bw"),
}
_FOURS = {
    4: ("llvm.x86.avx512.vpdpbusd.128", "avx512vl"),
    8: ("llvm.x86.avx512.vpdpbusd.256", "avx512vl"),
    16: ("llvm.x86.avx512.vpdpbusd.512", "avx512f"),
}
_FOURS_FEATURES = frozenset({"avx512vnni", "avxvnni"})


@dataclass(frozen=True, kw_only=True, slots=True)
class DotStep:
    """``sums[L] += rows[G] * weights[L, G]``, summed over G, by one instruction or two."""

    lanes: int
    group: int  # 2: pairs of int16; 4: uint8 by int8
    weight_dtype: str  # int8, widened on the way where pairs are int16; or int16

    @property
    def row_dtype(self) -> str:
        return "int16" if self.group == 2 else "uint8"

    @property
    def name(self) -> str:
        """By which `tensorize` knows the step."""
        return f"tunesmith.dot_{self.lanes}x{self.group}_{self.row_dtype}_{self.weight_dtype}"


def multiplies_fours(spec: TargetSpec) -> bool:
    """Whether the machine sums four products of bytes in a step (VNNI)."""
    features = frozenset(required_cpu_features(spec)) if _is_x86(spec) else frozenset()
    return bool(features & _FOURS_FEATURES)


def multiplies_pairs(spec: TargetSpec) -> bool:
    """Whether the machine sums two products of int16 in a step."""
    return _is_x86(spec)  # SSE2 has it


def _is_x86(spec: TargetSpec) -> bool:
    return spec.family == "cpu" and spec.llvm.architecture == "x86_64"


def dot_step(sch: s_tir.Schedule, block: Any, spec: TargetSpec) -> str | None:
    """The name of the step that the block's last two axes of weights are; None if there is none.

    The block is ``sums[..., L] += rows[..., G] * weights[..., L, G]``.
    """
    if not _is_x86(spec):
        return None
    rows, weights = (read.source.ty for read in sch.get(block).reads[-2:])
    lanes, group = (int(extent) for extent in weights.shape[-2:])
    step = DotStep(lanes=lanes, group=group, weight_dtype=str(weights.dtype))
    known = _PAIRS if group == 2 else _FOURS if group == 4 else {}
    _, feature = known.get(lanes, (None, "none"))
    features = required_cpu_features(spec)
    if str(rows.dtype) != step.row_dtype or (feature is not None and feature not in features):
        return None
    if group == 4 and (step.weight_dtype != "int8" or not multiplies_fours(spec)):
        return None
    register(step)
    return step.name


@cache
def register(step: DotStep) -> None:
    """Make the step known to `tensorize`."""
    make = _pairs if step.group == 2 else _fours
    s_tir.TensorIntrin.register(step.name, described(step), make(step), override=True)


def described(step: DotStep) -> PrimFunc:
    """What the step computes, element by element."""
    lanes, group = step.lanes, step.group
    row_dtype, weight_dtype = step.row_dtype, step.weight_dtype

    @T.prim_func(s_tir=True)
    def plain(
        rows: T.Buffer((group,), row_dtype, offset_factor=1),
        weights: T.Buffer((lanes, group), weight_dtype, offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], rows[0:group], weights[0:lanes, 0:group])
            T.writes(sums[0:lanes])
            for lane, inner in T.grid(lanes, group):
                with T.sblock("update"):
                    i, k = T.axis.remap("SR", [lane, inner])
                    sums[i] = sums[i] + T.cast(rows[k], "int32") * T.cast(weights[i, k], "int32")

    return plain


def _pairs(step: DotStep) -> PrimFunc:
    """vpmaddwd of a broadcast pair, then vpaddd."""
    lanes, weight_dtype = step.lanes, step.weight_dtype
    name = _PAIRS[lanes][0]
    loaded, words = f"{weight_dtype}x{2 * lanes}", f"int16x{2 * lanes}"
    result = f"int32x{lanes}"

    @T.prim_func(s_tir=True)
    def pairs(
        rows: T.Buffer((2,), "int16", offset_factor=1),
        weights: T.Buffer((lanes, 2), weight_dtype, offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], rows[0:2], weights[0:lanes, 0:2])
            T.writes(sums[0:lanes])
            pair = T.reinterpret(rows.vload([0], dtype="int16x2"), dtype="int32")
            sums[T.ramp(T.int32(0), 1, lanes)] += T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(name),
                T.reinterpret(T.broadcast(pair, lanes), dtype=words),
                T.cast(weights.vload([0, 0], dtype=loaded), words),
                dtype=result,
            )

    return pairs


def _fours(step: DotStep) -> PrimFunc:
    """vpdpbusd of four broadcast bytes without sign by bytes with sign."""
    lanes = step.lanes
    name = _FOURS[lanes][0]
    result = f"int32x{lanes}"

    @T.prim_func(s_tir=True)
    def fours(
        rows: T.Buffer((4,), "uint8", offset_factor=1),
        weights: T.Buffer((lanes, 4), "int8", offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], rows[0:4], weights[0:lanes, 0:4])
            T.writes(sums[0:lanes])
            four = T.reinterpret(rows.vload([0], dtype="uint8x4"), dtype="int32")
            sums[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(name),
                sums.vload([0], dtype=result),
                T.reinterpret(T.broadcast(four, lanes), dtype=f"uint8x{4 * lanes}"),
                weights.vload([0, 0], dtype=f"int8x{4 * lanes}"),
                dtype=result,
            )

    return fours


def sums_registers(spec: TargetSpec, step: str | None) -> int:
    """Registers for a tile of sums: one less where products stand in one before they are added."""
    return spec.vector.register_count - (step is not None and "x2_" in step)


def sums_by_steps(
    sch: s_tir.Schedule, block: Any, reduction: Any, tile: Sequence[Any], depth: int, step: str
) -> None:
    """As `steps.sums_in_registers`; the tile's last two loops, lanes and products, are `step`."""
    *unrolled, lane, _ = tile
    for loop in unrolled:
        sch.unroll(loop)
    start = sch.decompose_reduction(block, reduction)
    steps.unroll_tile(sch, start, depth)
    sch.tensorize(lane, step)
