"""What passes between search, build and measuring of a candidate. Plain data, no TVM."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from compiler.program import CompiledKernel
from compiler.tuning.record import Outcome, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningTask:
    """One workload of a model that may be made faster, with what tells whether it is right."""

    kernel: str  # its name in the model, a C identifier
    workload: str  # scheduling.workload_hash
    func: Any  # TVM's PrimFunc, not scheduled
    input_count: int
    calls: int  # of one run of the model
    macs: int  # of one call
    constants: tuple[np.ndarray | None, ...]  # of a call, by input; None: computed at run time
    other_constant_bytes: int = 0  # of the model: what a run reads between two calls of this one


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A schedule to try: TVM's JSON of its steps and decisions, and the rule that drew them."""

    task: TuningTask
    trace: list[Any]
    rule: str  # "" if MetaSchedule's generic space did


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What became of a candidate's build: a kernel, or how it failed."""

    kernel: CompiledKernel | None
    outcome: Outcome = "passed"  # else "not-built", "crashed", "timed-out"
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelData:
    """Operands of a task's kernel and what it must make of them.

    `inputs` are the model's constants and drawn activations; `expected` was computed by the
    kernel without a schedule. Integers must be equal; a float may be off by `tolerance` times the
    largest expected magnitude.
    """

    key: str  # of the task: equal keys have equal arrays
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    tolerance: float = 1e-4
    macs: int = 0  # of one call; with the bytes, whether a session gives it to several threads
    constants: tuple[int, ...] = ()  # positions of inputs that are stored in the library
    other_constant_bytes: int = 0  # as of the task
    note: str = ""  # where `expected` comes from, if not from the kernel without a schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """How a built kernel ran: checked, then measured at least three times; or how it failed."""

    outcome: Outcome  # "passed", "wrong-numbers", "crashed" or "timed-out"
    values: tuple[float, ...] = ()  # of one call, in the runner's unit
    reason: str = ""


class TrialRunner(AbstractContextManager["TrialRunner"], Protocol):
    """Where candidates run. A kernel that crashes or hangs never takes this process with it."""

    @property
    def name(self) -> str:
        """Of records: "native", "emulator" or "rpc"."""

    @property
    def unit(self) -> Unit: ...

    @property
    def conditions(self) -> str:
        """The machine by its own words, and how it measures."""

    @property
    def slots(self) -> int:
        """How many calls of `measure`, from as many threads, are worth while."""

    def measure(self, kernel: CompiledKernel, data: KernelData) -> Measured:
        """Check a kernel's numbers, then measure it.

        Raises:
            NotRunnableError: nothing can be measured any more (no board is left).
        """

    def measure_in_turns(
        self, kernels: Sequence[CompiledKernel], data: KernelData, rounds: int
    ) -> tuple[Measured, ...]:
        """Measure several kernels of one task, taking turns, so that a drift hits all alike."""
