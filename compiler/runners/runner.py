"""What every runner can do, whatever machine is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.library_arrays import TensorSpec
from compiler.runners.machine import Machine

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerResult:
    """What the library made of each set of inputs, and what the runner saw of the work."""

    outputs: tuple[dict[str, np.ndarray], ...]  # one for each set of inputs
    instruction_count: int | None = None  # of one inference; None: not counted
    stack_bytes: int | None = None  # most that a call used; None: not measured


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSymbol:
    """A C function of the library: `pointer_count` pointers, then begin and end of its items."""

    name: str
    pointer_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Memory that a kernel may write, and where in it the kernel's pointer points."""

    content: np.ndarray  # [bytes] of uint8; what the kernel writes is written here
    offset: int


# A constant is where it lies in the weights, in bytes.
Operand = int | Block


class Kernels(AbstractContextManager["Kernels"], Protocol):
    """The kernels of an artifact, to be called one by one; gone on exit."""

    def call(self, phases: Sequence[tuple[str, int]], operands: Sequence[Operand]) -> None:
        """Run all work items of each phase, the second half first, since any order must do.

        Args:
            phases: symbol and extent, in order.
            operands: what the functions' pointers point to, in their order.
        """


class Runner(Protocol):
    """A library that is ready to run. Close it, or use it in a ``with`` statement."""

    @property
    def artifact(self) -> Artifact: ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def machine(self) -> Machine:
        """Where the library runs; an emulator is named as one."""

    @property
    def is_emulated(self) -> bool:
        """Whether times would be those of the emulator."""

    @property
    def is_remote(self) -> bool:
        """Whether it is another machine than this one: nothing else runs there beside it."""

    def run(self, inputs: Sequence[Arrays], *, count: bool = False) -> RunnerResult:
        """Run the library once on each set of inputs.

        Args:
            count: also say how many instructions one inference takes and how much stack, where
                the runner can. It runs more often then.

        Raises:
            InputError: an array has the wrong name, dtype or shape.
            NotRunnableError: the emulator or the board fails.
        """

    def time(self, inputs: Arrays, runs: int) -> tuple[float, ...]:
        """Return the seconds of each of `runs` runs, after others to warm up; none in an emulator.

        Raises:
            InputError, NotRunnableError: as `run`.
        """

    def kernels(self, symbols: Sequence[KernelSymbol], weights: str | None) -> Kernels:
        """Return these functions of the library, and its weights if `weights` names them."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
