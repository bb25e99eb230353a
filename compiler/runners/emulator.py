"""Run a library for another processor in QEMU's user-mode emulation.

A small program is linked with the artifact's static library and started in the emulator; arrays
go in and out as files. All files are named relative to the folder that the emulator works in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.errors import OtherProcessorError
from compiler.library_arrays import checked_inputs, tensor_specs
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.emulated_kernels import EmulatedKernels
from compiler.runners.emulator_program import MODEL_PROGRAM, build_model_program
from compiler.runners.instruction_counter import INSTRUCTIONS, VECTORS, InstructionCounter
from compiler.runners.machine import Machine
from compiler.runners.qemu_user import find_emulator
from compiler.runners.runner import Arrays, KernelSymbol, RunnerResult
from compiler.runners.tensor_files import read_sets, write_sets
from compiler.runners.vector_counter import VectorCounts

_INPUTS, _OUTPUTS = "inputs.bin", "outputs.bin"
_OTHER_CPU = 4  # exit status of programs/run_model.c


class EmulatorRunner(ClosedOnExit):
    """The library in an emulator, which is started once for each call of `run`."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        self._artifact = artifact
        self._threads = threads
        self._emulator = find_emulator(artifact)
        self.inputs = tensor_specs(artifact.manifest.inputs)
        self.outputs = tensor_specs(artifact.manifest.outputs)
        self._temporary = TemporaryDirectory(prefix="tunesmith-emulator-")

    @property
    def artifact(self) -> Artifact:
        return self._artifact

    @property
    def machine(self) -> Machine:
        return self._emulator.machine

    @property
    def is_emulated(self) -> bool:
        return True

    @property
    def is_remote(self) -> bool:
        return False

    def run(self, inputs: Sequence[Arrays], *, count: bool = False) -> RunnerResult:
        arrays = [checked_inputs(self.inputs, given) for given in inputs]
        write_sets(self._folder / _INPUTS, arrays)
        self._start(sets=len(arrays), runs=1)
        outputs = read_sets(self._folder / _OUTPUTS, self.outputs, len(arrays))
        instructions = self._instructions(arrays[0]) if count and arrays else None
        return RunnerResult(outputs=outputs, instruction_count=instructions)

    def time(self, inputs: Arrays, runs: int) -> tuple[float, ...]:
        del inputs, runs
        return ()

    def count_vectors(self, inputs: Arrays) -> VectorCounts | None:
        """Return which vectors one inference uses; None if this QEMU takes no plugins.

        For AArch64: the words of other processors mean something else.
        """
        assert self._emulator.architecture == "aarch64"
        numbers = self._counted(checked_inputs(self.inputs, inputs), VECTORS)
        if numbers is None:
            return None
        instructions, scalable, fixed = numbers
        return VectorCounts(instructions=instructions, scalable=scalable, fixed=fixed)

    def kernels(self, symbols: Sequence[KernelSymbol], weights: str | None) -> EmulatedKernels:
        return EmulatedKernels(self._artifact, self._emulator, symbols, weights)

    def close(self) -> None:
        self._temporary.cleanup()

    @cached_property
    def _folder(self) -> Path:
        folder = Path(self._temporary.name)
        build_model_program(self._artifact, folder)
        return folder

    def _start(self, *, sets: int, runs: int, counter: InstructionCounter | None = None) -> None:
        words = (_INPUTS, _OUTPUTS, str(sets), str(runs), str(self._threads))
        options = counter.emulator_options if counter else ()
        done = self._emulator.start((MODEL_PROGRAM, *words), self._folder, options)
        if done.returncode == _OTHER_CPU:
            raise OtherProcessorError(
                f"{self.machine.cpu} lacks the CPU feature {done.stderr.strip()}",
                why=f"the library was compiled for {self._artifact.manifest.target.name}",
                fix="name an emulated processor that has it in the target's [runner] command",
            )
        self._emulator.check(done)

    def _instructions(self, arrays: Sequence[np.ndarray]) -> int | None:
        numbers = self._counted(arrays, INSTRUCTIONS)
        return None if numbers is None else numbers[0]

    def _counted(self, arrays: Sequence[np.ndarray], kind: str) -> tuple[int, ...] | None:
        counter = InstructionCounter.build(self._emulator, self._folder, kind)
        if counter is None:
            return None
        write_sets(self._folder / _INPUTS, [arrays])
        return counter.numbers_of_one_run(
            lambda runs: self._start(sets=1, runs=runs, counter=counter)
        )
