"""What a verification found, and its file ``verification.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from compiler.program import is_winograd
from compiler.runners.machine import Machine
from compiler.verification.comparison import Comparison, relative_limit
from compiler.verification.kernel_check import KernelCheck

SCHEMA_VERSION = 1


class Status(StrEnum):
    """``NOT_RUN`` is never called passed: the artifact's machine is not this one."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


class Decider(StrEnum):
    """Which check gave the verdict."""

    WHOLE_MODEL = "whole model"
    PER_KERNEL = "per kernel"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """Figures of every output, the verdict and what it rests on."""

    status: Status
    reason: str
    decided_by: Decider
    outputs: tuple[Comparison, ...]  # whole model, worst over all inputs
    kernels: tuple[KernelCheck, ...]  # empty if kernels were not checked one by one
    inputs: str  # where they came from
    seeds: tuple[int, ...]  # empty if the user gave the inputs
    reference_uncertainty: (
        float  # onnxruntime against itself, optimised; share of the largest value
    )
    onnxruntime_version: str
    machine: Machine
    precision: str = "float32"  # of products
    weights: str = "model"  # as stored; the reference has the same
    # By name of a float output: how far it is from that of the model before its weights were
    # rounded, as a share of its largest value. A figure to judge by: nothing is held to it.
    rounding_differences: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.status is Status.PASSED

    @property
    def first_difference(self) -> KernelCheck | None:
        """The first kernel that differs from onnxruntime's, given onnxruntime's own inputs."""
        return next((kernel for kernel in self.kernels if not kernel.passed), None)

    @property
    def winograd_max_relative(self) -> float | None:
        """The largest error of a Winograd convolution alone, as a share of its largest value."""
        kernels = [kernel for kernel in self.kernels if is_winograd(kernel.kernel)]
        errors = [output.max_relative for kernel in kernels for output in kernel.comparisons]
        return max(errors, default=None)

    def as_json(self) -> dict[str, Any]:
        first = self.first_difference
        return {
            "schema_version": SCHEMA_VERSION,
            "status": str(self.status),
            "reason": self.reason,
            "decided_by": str(self.decided_by),
            "outputs": [output.as_json() for output in self.outputs],
            "first_differing_kernel": None if first is None else first.index,
            "winograd_max_relative": self.winograd_max_relative,
            "kernels": [kernel.as_json() for kernel in self.kernels],
            "precision": self.precision,
            "float32_limit": relative_limit("float32", self.precision),
            "weights": self.weights,
            "rounding_differences": dict(self.rounding_differences),
            "inputs": self.inputs,
            "seeds": list(self.seeds),
            "reference_uncertainty": self.reference_uncertainty,
            "onnxruntime_version": self.onnxruntime_version,
            "machine": {
                "system": self.machine.system,
                "architecture": self.machine.architecture,
                "cpu": self.machine.cpu,
            },
        }


def write_verification(path: Path, verification: Verification) -> None:
    """Write ``verification.json`` whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(verification.as_json(), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
