"""Which rules a target has, most specific first. The fallback takes what is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules.cpu.amx_conv2d import amx_conv2d
from schedules.cpu.amx_matmul import amx_matmul
from schedules.cpu.attention import attention
from schedules.cpu.bfloat_conv2d import bfloat_conv2d
from schedules.cpu.bfloat_matmul import bfloat_matmul
from schedules.cpu.blocked_depthwise_conv2d import blocked_depthwise_conv2d
from schedules.cpu.conv2d import conv2d
from schedules.cpu.conv2d_columns import conv2d_columns
from schedules.cpu.conv2d_transpose import conv2d_transpose
from schedules.cpu.depthwise_conv2d import depthwise_conv2d
from schedules.cpu.dot_conv2d import dot_conv2d
from schedules.cpu.dot_matmul import dot_matmul
from schedules.cpu.fallback import fallback
from schedules.cpu.half_sums import half_conv2d, half_depthwise_conv2d, half_matmul
from schedules.cpu.integer_conv2d import integer_conv2d
from schedules.cpu.integer_depthwise import integer_depthwise
from schedules.cpu.integer_matmul import integer_matmul
from schedules.cpu.matmul import matmul
from schedules.cpu.neon_depthwise import neon_depthwise
from schedules.cpu.rows import rows
from schedules.cpu.scalable_conv2d import scalable_conv2d
from schedules.cpu.scalable_depthwise_conv2d import scalable_depthwise_conv2d
from schedules.cpu.scalable_dot_conv2d import scalable_dot_conv2d
from schedules.cpu.scalable_dot_matmul import scalable_dot_matmul
from schedules.cpu.scalable_matmul import scalable_matmul
from schedules.cpu.tap_pairs import tap_pairs
from schedules.cpu.winograd import winograd
from schedules.cuda.depthwise_conv2d import depthwise_conv2d as gpu_depthwise_conv2d
from schedules.cuda.dot_product import dot_product
from schedules.cuda.fallback import fallback as gpu_fallback
from schedules.cuda.product import product
from schedules.cuda.reduction import reduction
from schedules.cuda.rows import rows as gpu_rows
from schedules.cuda.tensor_product import tensor_product
from schedules.mcu.conv2d import scalar_conv2d
from schedules.mcu.depthwise_conv2d import scalar_depthwise_conv2d
from schedules.mcu.dot_conv2d import dot_conv2d as helium_conv2d
from schedules.mcu.dot_matmul import dot_matmul as helium_matmul
from schedules.mcu.integer_conv2d import scalar_integer_conv2d
from schedules.mcu.integer_depthwise import scalar_integer_depthwise
from schedules.mcu.integer_matmul import scalar_integer_matmul
from schedules.mcu.matmul import scalar_matmul
from schedules.mcu.paired_conv2d import paired_conv2d
from schedules.mcu.paired_depthwise import paired_depthwise
from schedules.mcu.paired_matmul import paired_matmul
from schedules.mcu.vector_depthwise_conv2d import vector_depthwise_conv2d
from schedules.mcu.vector_integer_depthwise import vector_integer_depthwise


@dataclass(frozen=True, slots=True)
class Rule:
    """A named schedule rule; `apply` returns None for kernels that are not of its kind."""

    name: str
    apply: Callable[[PrimFunc, TargetSpec], Schedule | None]


Fallback = Callable[[PrimFunc, TargetSpec], tuple[Schedule, str]]

CPU_RULES = (
    Rule("attention", attention),
    Rule("bfloat-conv2d", bfloat_conv2d),
    Rule("bfloat-matmul", bfloat_matmul),
    Rule("half-conv2d", half_conv2d),
    Rule("half-depthwise-conv2d", half_depthwise_conv2d),
    Rule("half-matmul", half_matmul),
    Rule("scalable-conv2d", scalable_conv2d),
    Rule("conv2d", conv2d),
    Rule("conv2d-columns", conv2d_columns),
    Rule("winograd", winograd),
    Rule("conv2d-transpose", conv2d_transpose),
    Rule("scalable-depthwise-conv2d", scalable_depthwise_conv2d),
    Rule("blocked-depthwise-conv2d", blocked_depthwise_conv2d),
    Rule("depthwise-conv2d", depthwise_conv2d),
    Rule("scalable-matmul", scalable_matmul),
    Rule("matmul", matmul),
    Rule("scalable-dot-conv2d", scalable_dot_conv2d),
    Rule("dot-conv2d", dot_conv2d),
    Rule("amx-conv2d", amx_conv2d),
    Rule("integer-conv2d", integer_conv2d),
    Rule("neon-depthwise", neon_depthwise),
    Rule("tap-pairs", tap_pairs),
    Rule("integer-depthwise", integer_depthwise),
    Rule("scalable-dot-matmul", scalable_dot_matmul),
    Rule("dot-matmul", dot_matmul),
    Rule("amx-matmul", amx_matmul),
    Rule("integer-matmul", integer_matmul),
    Rule("rows", rows),
)

MCU_RULES = (
    Rule("scalar-conv2d", scalar_conv2d),
    Rule("scalar-depthwise-conv2d", scalar_depthwise_conv2d),
    Rule("scalar-matmul", scalar_matmul),
    Rule("paired-conv2d", paired_conv2d),
    Rule("paired-depthwise", paired_depthwise),
    Rule("paired-matmul", paired_matmul),
    Rule("scalar-integer-conv2d", scalar_integer_conv2d),
    Rule("scalar-integer-depthwise", scalar_integer_depthwise),
    Rule("scalar-integer-matmul", scalar_integer_matmul),
    Rule("rows", rows),
)

# The like with less scratch and less code, for models that do not fit otherwise.
SMALL_MCU_RULES = (
    Rule("small-scalar-conv2d", partial(scalar_conv2d, unroll_taps=False)),
    Rule("small-scalar-depthwise-conv2d", partial(scalar_depthwise_conv2d, whole_planes=False)),
    *MCU_RULES[2:],
)

# Microcontrollers with vectors, one core and no cache.
VECTOR_MCU_RULES = (
    Rule("conv2d", conv2d),
    Rule("conv2d-columns", conv2d_columns),
    Rule("conv2d-transpose", conv2d_transpose),
    Rule("vector-depthwise-conv2d", vector_depthwise_conv2d),
    Rule("depthwise-conv2d", depthwise_conv2d),
    Rule("matmul", matmul),
    Rule("dot-conv2d", helium_conv2d),
    Rule("dot-matmul", helium_matmul),
    Rule("vector-integer-depthwise", vector_integer_depthwise),
    Rule("integer-conv2d", integer_conv2d),
    Rule("integer-depthwise", integer_depthwise),
    Rule("integer-matmul", integer_matmul),
    Rule("rows", rows),
)

GPU_RULES = (
    Rule("gpu-tensor-product", tensor_product),
    Rule("gpu-dot-product", dot_product),
    Rule("gpu-product", product),
    Rule("gpu-depthwise-conv2d", gpu_depthwise_conv2d),
    Rule("gpu-rows", gpu_rows),
    Rule("gpu-reduction", reduction),
)

_RULES: dict[str, tuple[tuple[Rule, ...], Fallback]] = {
    "cpu": (CPU_RULES, fallback),
    "mcu": (MCU_RULES, fallback),
    "gpu": (GPU_RULES, gpu_fallback),
}


def rules_for(spec: TargetSpec) -> tuple[tuple[Rule, ...], Fallback]:
    """Return the rules for a target's family, and its fallback."""
    rules, otherwise = _RULES[spec.family]
    if spec.family == "mcu" and spec.lanes(dtype_bits=32) > 1:
        return VECTOR_MCU_RULES, otherwise
    return rules, otherwise
