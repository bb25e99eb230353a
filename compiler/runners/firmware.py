"""Run a library for a microcontroller in QEMU's emulation of a board that has one.

A firmware is linked from the artifact's static library, startup code and linker script; arrays go
in and out as files of the host. All files are named relative to the folder that QEMU works in.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.errors import InputError, NotRunnableError, ToolchainError
from compiler.library_arrays import checked_inputs, tensor_specs
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.firmware_kernels import FirmwareKernels
from compiler.runners.firmware_program import (
    MODEL_FIRMWARE,
    build_model_firmware,
    loaded_bytes,
)
from compiler.runners.instruction_counter import MOST_COUNTED_RUNS, InstructionCounter
from compiler.runners.machine import Machine
from compiler.runners.qemu_system import find_board
from compiler.runners.runner import Arrays, KernelSymbol, RunnerResult
from compiler.runners.tensor_files import read_sets, write_sets
from compiler.toolchain import find_toolchain

_JOB, _INPUTS, _OUTPUTS, _RESULT = "job.bin", "inputs.bin", "outputs.bin", "result.bin"


class FirmwareRunner(ClosedOnExit):
    """The library in an emulated board, which is started once for each call of `run`."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        if threads < 1:
            raise InputError(
                f"threads is {threads}", why="one thread at least runs the library", fix="give 1"
            )
        self._artifact = artifact
        self._board = find_board(artifact)
        _require_compiler(artifact)
        self.inputs = tensor_specs(artifact.manifest.inputs)
        self.outputs = tensor_specs(artifact.manifest.outputs)
        self._temporary = TemporaryDirectory(prefix="tunesmith-firmware-")

    @property
    def artifact(self) -> Artifact:
        return self._artifact

    @property
    def machine(self) -> Machine:
        return self._board.machine

    @property
    def is_emulated(self) -> bool:
        return True

    @property
    def is_remote(self) -> bool:
        return False

    def run(self, inputs: Sequence[Arrays], *, count: bool = False) -> RunnerResult:
        arrays = [checked_inputs(self.inputs, given) for given in inputs]
        stack = self._start(arrays, runs=1)
        outputs = read_sets(self._folder / _OUTPUTS, self.outputs, len(arrays))
        instructions = self._instructions(arrays[0]) if count and arrays else None
        return RunnerResult(outputs=outputs, instruction_count=instructions, stack_bytes=stack)

    @property
    def firmware_bytes(self) -> int:
        """Code, constants and weights of the firmware, its test harness included."""
        return loaded_bytes((self._folder / MODEL_FIRMWARE).read_bytes())

    def time(self, inputs: Arrays, runs: int) -> tuple[float, ...]:
        del inputs, runs
        return ()

    def kernels(self, symbols: Sequence[KernelSymbol], weights: str | None) -> FirmwareKernels:
        return FirmwareKernels(self._artifact, self._board, symbols, weights)

    def close(self) -> None:
        self._temporary.cleanup()

    @cached_property
    def _folder(self) -> Path:
        folder = Path(self._temporary.name)
        build_model_firmware(self._artifact, folder)
        return folder

    def _start(
        self,
        sets: Sequence[Sequence[np.ndarray]],
        *,
        runs: int,
        counter: InstructionCounter | None = None,
    ) -> int:
        """Run the firmware and return how many bytes of stack a run of the model took at most."""
        # Written as often in all counts: what writing takes is then in none of their differences.
        writes = runs if counter is None else MOST_COUNTED_RUNS
        job = struct.pack("<4I", len(sets), runs, counter is None, writes)
        (self._folder / _JOB).write_bytes(job)
        write_sets(self._folder / _INPUTS, sets)
        options = counter.emulator_options if counter else ()
        self._board.run(MODEL_FIRMWARE, self._folder, options)
        (stack,) = struct.unpack("<I", (self._folder / _RESULT).read_bytes())
        return int(stack)

    def _instructions(self, arrays: Sequence[np.ndarray]) -> int | None:
        counter = InstructionCounter.build(self._board, self._folder)
        if counter is None:
            return None
        return counter.of_one_run(lambda runs: self._start([arrays], runs=runs, counter=counter))


def _require_compiler(artifact: Artifact) -> None:
    """Refuse before anything is run: the emulator alone has no firmware to start."""
    try:
        find_toolchain(artifact.manifest.runner.cc)
    except ToolchainError as missing:
        raise NotRunnableError(
            missing.what, why="it links the firmware that the emulator runs", fix=missing.fix
        ) from missing
