"""A runner for tests of what compares and searches: outcomes and times by the name of a symbol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from compiler.program import CompiledKernel
from compiler.tuner.trial import KernelData, Measured
from compiler.tuning.record import Unit

Script = Callable[[CompiledKernel], Measured]


@dataclass
class ScriptedRunner:
    """Answers by a script; remembers what was measured, and how often it was closed."""

    script: Script
    unit: Unit = "us"
    name: str = "native"
    conditions: str = "a machine made up"
    slots: int = 1
    turns: list[int] = field(default_factory=list)  # kernels of each call of measure_in_turns
    closed: int = 0

    def measure(self, kernel: CompiledKernel, data: KernelData) -> Measured:
        del data
        return self.script(kernel)

    def measure_in_turns(
        self, kernels: Sequence[CompiledKernel], data: KernelData, rounds: int
    ) -> tuple[Measured, ...]:
        del data, rounds
        self.turns.append(len(kernels))
        return tuple(self.script(kernel) for kernel in kernels)

    def __enter__(self) -> ScriptedRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closed += 1
