"""AVX512-BF16 on processors without it: the functions of its instructions, written out for LLVM.

`vdpbf16ps` by Intel's Software Developer's Manual: for each lane a fused multiply-add of the second
(odd) product, then one of the first, each rounded half to even; denormal numbers that go in are
zero, and so are those that come out. `vcvtneps2bf16`: half to even, denormal numbers zero, a NaN
stays one. Everything else of a kernel is as the compiler made it for such a processor.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.kernels import bfloats
from compiler.target_spec import LlvmSpec, TargetSpec, load_target
from schedules.cpu.dot_step import is_of_bfloats, step_lanes


def emulate_bfloats(monkeypatch: pytest.MonkeyPatch, name: str = "znver4") -> TargetSpec:
    """The target with the instructions of this machine, its kernels scheduled as if it had more."""
    monkeypatch.setattr(LlvmSpec, "multiplies_bfloats", property(lambda _: True))
    monkeypatch.setattr(bfloats, "bfloat_function", emulated_function)
    return replace(load_target(name), llvm=load_target("x86-64-v3").llvm)


def emulated_function(name: str) -> str:
    if is_of_bfloats(name):
        return _pair_sums(name, step_lanes(name))
    return _rounding(name, int(name.rpartition("_")[2]))


def pair_sums(sums: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same in NumPy: ``sums[L]``, the others [L, 2], all float32.

    A product of two bfloat16 is exact in double, and its sum with a float32 is, too, unless they
    are 2**29 apart; rounding twice then differs only where the sum lies beside the middle of two.
    """
    made = _flushed(sums)
    for which in (1, 0):
        product = _flushed(rows[:, which]).astype(np.float64) * _flushed(weights[:, which])
        made = _flushed((made.astype(np.float64) + product).astype(np.float32))
    return made


def rounded(numbers: np.ndarray) -> np.ndarray:
    """The nearest bfloat16, half to even, as float32; denormal numbers are zero."""
    bits = _flushed(numbers).view(np.uint32)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF_0000)
    return nearest.astype(np.uint32).view(np.float32)


def _flushed(numbers: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    kept = np.where(bits & 0x7F80_0000, bits, bits & 0x8000_0000)
    return kept.astype(np.uint32).view(np.float32)


def _pair_sums(name: str, lanes: int) -> str:
    floats, words, pairs = f"<{lanes} x float>", f"<{lanes} x i32>", f"<{2 * lanes} x i16>"

    def each(number: int) -> str:
        return "<" + ", ".join([f"i32 {number}"] * lanes) + ">"

    lines: list[str] = []

    def flush(value: str) -> str:
        """Lines that make a float of a word, zero if it is denormal; its name."""
        lines.extend(
            (
                f"  %{value}.exponent = and {words} %{value}, {each(0x7F80_0000)}",
                f"  %{value}.denormal = icmp eq {words} %{value}.exponent, zeroinitializer",
                f"  %{value}.sign = and {words} %{value}, {each(-(2**31))}",
                f"  %{value}.kept = select <{lanes} x i1> %{value}.denormal, "
                f"{words} %{value}.sign, {words} %{value}",
                f"  %{value}.float = bitcast {words} %{value}.kept to {floats}",
            )
        )
        return f"%{value}.float"

    lines.append(f"  %before = bitcast {floats} %sums to {words}")
    made = flush("before")
    for operand in ("rows", "weights"):
        lines += [
            f"  %{operand}.words = bitcast {pairs} %{operand} to {words}",
            f"  %{operand}.1 = and {words} %{operand}.words, {each(-(2**16))}",
            f"  %{operand}.0 = shl {words} %{operand}.words, {each(16)}",
        ]
    for which in (1, 0):
        a, b = flush(f"rows.{which}"), flush(f"weights.{which}")
        lines += [
            f"  %sum.{which} = call {floats} @llvm.fma.v{lanes}f32"
            f"({floats} {a}, {floats} {b}, {floats} {made})",
            f"  %after.{which} = bitcast {floats} %sum.{which} to {words}",
        ]
        made = flush(f"after.{which}")
    return "\n".join(
        (
            f"declare {floats} @llvm.fma.v{lanes}f32({floats}, {floats}, {floats})",
            f"define linkonce_odr hidden {floats} @{name}"
            f"({floats} %sums, {pairs} %rows, {pairs} %weights) #0 {{",
            *lines,
            f"  ret {floats} {made}",
            "}",
        )
    )


def _rounding(name: str, lanes: int) -> str:
    def kind(element: str) -> str:
        return element if lanes == 1 else f"<{lanes} x {element}>"

    def each(number: int) -> str:
        return str(number) if lanes == 1 else "<" + ", ".join([f"i32 {number}"] * lanes) + ">"

    words = kind("i32")
    return f"""
define linkonce_odr hidden {kind("i16")} @{name}({kind("float")} %numbers) #0 {{
  %bits = bitcast {kind("float")} %numbers to {words}
  %exponent = and {words} %bits, {each(0x7F80_0000)}
  %denormal = icmp eq {words} %exponent, {each(0)}
  %sign = and {words} %bits, {each(-(2**31))}
  %kept = select {kind("i1")} %denormal, {words} %sign, {words} %bits
  %upper = lshr {words} %kept, {each(16)}
  %odd = and {words} %upper, {each(1)}
  %bias = add {words} %odd, {each(0x7FFF)}
  %sum = add {words} %kept, %bias
  %nearest = lshr {words} %sum, {each(16)}
  %quiet = or {words} %upper, {each(0x40)}
  %nan = fcmp uno {kind("float")} %numbers, %numbers
  %made = select {kind("i1")} %nan, {words} %quiet, {words} %nearest
  %words = trunc {words} %made to {kind("i16")}
  ret {kind("i16")} %words
}}"""
