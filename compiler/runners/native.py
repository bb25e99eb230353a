"""Run a library in this process, through ctypes."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from compiler.artifact.manifest import Artifact, check_digest
from compiler.library import load
from compiler.library_arrays import TensorSpec
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.machine import Machine, this_machine
from compiler.runners.native_kernels import NativeKernels
from compiler.runners.runner import Arrays, KernelSymbol, RunnerResult

_WARM_UP_RUNS = 3


class NativeRunner(ClosedOnExit):
    """The library on this machine; it counts nothing and can time."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        self._library = load(artifact.path, threads=threads)

    @property
    def artifact(self) -> Artifact:
        return self._library.artifact

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._library.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._library.outputs

    @property
    def machine(self) -> Machine:
        return this_machine()

    @property
    def is_emulated(self) -> bool:
        return False

    @property
    def is_remote(self) -> bool:
        return False

    def run(self, inputs: Sequence[Arrays], *, count: bool = False) -> RunnerResult:
        del count
        return RunnerResult(outputs=tuple(self._library.run(arrays) for arrays in inputs))

    def time(self, inputs: Arrays, runs: int) -> tuple[float, ...]:
        for _ in range(_WARM_UP_RUNS):
            self._library.run(inputs)
        taken = []
        for _ in range(runs):
            start = perf_counter()
            self._library.run(inputs)
            taken.append(perf_counter() - start)
        return tuple(taken)

    def kernels(self, symbols: Sequence[KernelSymbol], weights: str | None) -> NativeKernels:
        check_digest(self.artifact, self.artifact.manifest.static_library)
        names = [symbol.name for symbol in symbols]
        return NativeKernels(self.artifact.static_library_path, names, weights)

    def close(self) -> None:
        self._library.close()
