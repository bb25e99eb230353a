"""From figures to a verdict: whole model first, kernels where depth makes that impossible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compiler.verification.comparison import LARGEST_UNCERTAINTY
from compiler.verification.kernel_check import KernelCheck
from compiler.verification.result import Decider, Status, Verification


def judge(result: Verification, *, agrees: bool, quantized: bool) -> Verification:
    """Return the result with status, decider and reason.

    Args:
        agrees: whether every output is within its whole-model tolerance.
        quantized: whether the model rounds to integers inside: if so, kernels decide.
    """
    wrong = next((output for output in result.outputs if not output.passed), None)
    first = result.first_difference
    if agrees and first is None:
        return replace(result, status=Status.PASSED, reason="all outputs within tolerance")
    if agrees and first is not None:
        reason = f"outputs agree, but {_describe(first, result.kernels)}"
        return replace(result, decided_by=Decider.PER_KERNEL, reason=reason)
    assert wrong is not None
    figures = f"output {wrong.name!r}: {wrong.problem}"
    if first is not None:
        return replace(result, reason=f"{figures}; {_describe(first, result.kernels)}")
    if not result.kernels:  # of a GPU, where no kernel can be called alone
        return replace(result, reason=f"{figures}; no kernel was checked alone")
    if excuse := _excuse(result, quantized=quantized):
        reason = f"every kernel agrees alone; whole model: {figures}; {excuse}"
        return replace(result, status=Status.PASSED, decided_by=Decider.PER_KERNEL, reason=reason)
    unsure = result.reference_uncertainty
    if unsure > LARGEST_UNCERTAINTY:
        why = f"onnxruntime differs from itself by {unsure:.3g} on these inputs: give steadier ones"
    else:
        why = "they are joined wrongly"
    return replace(result, reason=f"{figures}; every kernel agrees alone, so {why}")


def _excuse(result: Verification, *, quantized: bool) -> str:
    """Why outputs may differ though every kernel is right; empty if they may not."""
    wrong = [output for output in result.outputs if not output.passed]
    if not all(np.isfinite(output.max_abs) for output in wrong):
        return ""  # NaN, infinity or another shape is no rounding
    if quantized and all(output.max_quanta is not None for output in wrong):
        return "one value on a boundary of two quanta moves all that follow"
    return ""


def _describe(kernel: KernelCheck, kernels: Sequence[KernelCheck]) -> str:
    text = f"{_named(kernel)} is the first that differs: {kernel.why}"
    if kernel.fed_by:
        makers = " and ".join(_named(kernels[index]) for index in kernel.fed_by)
        text += f"; it or what feeds it is wrong, for ONNX has no value between it and {makers}"
    return text


def _named(kernel: KernelCheck) -> str:
    nodes = ", ".join(kernel.onnx_nodes) or "none"
    return f"kernel {kernel.index} {kernel.kernel} ({kernel.operator}; ONNX nodes: {nodes})"
