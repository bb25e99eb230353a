"""Products and rounding of bfloat16 by the instructions of AVX512-BF16.

TVM's code generator knows no bfloat16 of LLVM's. It stores them as 16 bits, and takes what computes
with them from functions in LLVM's language, which are inlined: an instruction each.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from schedules.cpu.dot_step import is_of_bfloats, step_lanes
from schedules.roles import DOT_STEP

_ROUNDED = "tunesmith_bfloats_"
_IMPORT = "pragma_import_llvm"  # of TVM: functions that are linked into the module and inlined
_ARITHMETIC = (
    *(tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min, tirx.Select),
    tvm.ir.Call,
)


def multiplies_bfloats(func: PrimFunc) -> bool:
    """Whether a schedule marked sums for `vdpbf16ps`, and nothing else computes in bfloat16."""
    marks: list[str] = []
    computed: list[Any] = []

    def look(loop: Any) -> None:
        marks.append(str(loop.annotations.get(DOT_STEP, "")))

    def look_for_bfloats(node: Any) -> None:
        if str(node.ty.dtype).startswith("bfloat16"):
            computed.append(node)

    structural.structural_walk(func.body, (tirx.For, look))
    if not any(is_of_bfloats(mark) for mark in marks):
        return False
    structural.structural_walk(func.body, [(kind, look_for_bfloats) for kind in _ARITHMETIC])
    return not computed


def pair_sums(instruction: str, sums: Any, rows: Any, weights: Any) -> Any:
    """``sums[L] + rows[2 * L] * weights[2 * L]``, two products for each lane, by `instruction`."""
    lanes = step_lanes(instruction)
    words = [tirx.reinterpret(f"int16x{2 * lanes}", factors) for factors in (rows, weights)]
    return tirx.call_pure_extern(f"float32x{lanes}", instruction, sums, *words)


def round_to_bfloats(func: PrimFunc) -> PrimFunc:
    """Return the function with calls in the place of conversions from float32 to bfloat16."""

    def visit(cast: Any, mutator: Any) -> Any:
        inner = mutator.default_mutate(cast)
        to, of = str(inner.ty.dtype), str(inner.value.ty.dtype)
        if not (to.startswith("bfloat16") and of.startswith("float32")):
            return inner
        lanes = int(inner.ty.dtype.lanes)
        word = "int16" if lanes == 1 else f"int16x{lanes}"
        rounded = tirx.call_pure_extern(word, f"{_ROUNDED}{lanes}", inner.value)
        return tirx.reinterpret(to, rounded)

    return func.with_body(structural.structural_mutate(func.body, [(tirx.Cast, visit)]))


def with_bfloat_functions(func: PrimFunc) -> PrimFunc:
    """Return the function with the functions in LLVM's language that it calls, if any."""
    called: set[str] = set()

    def look(call: tvm.ir.Call) -> None:
        if getattr(call.op, "name", "") == "tirx.call_pure_extern":
            called.add(str(call.args[0].value))

    structural.structural_walk(func.body, (tvm.ir.Call, look))
    texts = [bfloat_function(name) for name in sorted(called) if _is_bfloat_function(name)]
    if not texts:
        return func
    text = tvm.ir.StringImm("\n".join([*texts, _ATTRIBUTES]))
    return func.with_body(tirx.AttrStmt(tirx.const(0, "int32"), _IMPORT, text, func.body))


def _is_bfloat_function(name: str) -> bool:
    return is_of_bfloats(name) or name.startswith(_ROUNDED)


def bfloat_function(name: str) -> str:
    """One of the functions in LLVM's language; the object keeps none, as all calls are inlined."""
    if is_of_bfloats(name):
        return _pair_sums_text(name, step_lanes(name))
    return _rounding_text(name, int(name.removeprefix(_ROUNDED)))


# Nothing of a function is left in an object: it would be there for each kernel.
_ATTRIBUTES = "attributes #0 = { alwaysinline nounwind }"


def _pair_sums_text(name: str, lanes: int) -> str:
    sums, words, pairs = f"<{lanes} x float>", f"<{2 * lanes} x i16>", f"<{2 * lanes} x bfloat>"
    intrinsic = f"@llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
    return f"""
declare {sums} {intrinsic}({sums}, {pairs}, {pairs})
define linkonce_odr hidden {sums} @{name}({sums} %sums, {words} %rows, {words} %weights) #0 {{
  %a = bitcast {words} %rows to {pairs}
  %b = bitcast {words} %weights to {pairs}
  %made = call {sums} {intrinsic}({sums} %sums, {pairs} %a, {pairs} %b)
  ret {sums} %made
}}"""


def _rounding_text(name: str, lanes: int) -> str:
    given, rounded, words = (
        kind if lanes == 1 else f"<{lanes} x {kind}>" for kind in ("float", "bfloat", "i16")
    )
    return f"""
define linkonce_odr hidden {words} @{name}({given} %numbers) #0 {{
  %rounded = fptrunc {given} %numbers to {rounded}
  %words = bitcast {rounded} %rounded to {words}
  ret {words} %words
}}"""
