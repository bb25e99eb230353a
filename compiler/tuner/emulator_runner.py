"""Measure candidates for other processors by the instructions that QEMU counts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from compiler.errors import (
    LimitError,
    NotRunnableError,
    OtherProcessorError,
    TargetError,
    ToolchainError,
)
from compiler.program import CompiledKernel, KernelMemory, Phase, ScheduleOutcome
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.emulated_process import LateError
from compiler.runners.instruction_counter import MARKS, InstructionCounter
from compiler.runners.machine import Machine
from compiler.runners.qemu_system import QemuSystem
from compiler.runners.qemu_user import QemuUser, ending
from compiler.target_spec import TargetSpec
from compiler.tuner import trial_files
from compiler.tuner.agreement import disagreement
from compiler.tuner.board_trials import BoardTrials
from compiler.tuner.linux_trials import LinuxTrials
from compiler.tuner.trial import KernelData, Measured
from compiler.tuner.trial_objects import TrialObjects
from compiler.tuning.record import Unit

_TIMEOUT_S = 60.0
_PROBE = """\
#include <stdint.h>
void probe(void *in, void *out, int32_t begin, int32_t end);
void probe(void *in, void *out, int32_t begin, int32_t end)
{
    for (; begin < end; begin++) {
        ((int32_t *)out)[begin] = ((const int32_t *)in)[begin] + 1;
    }
}
"""
_PROBE_ITEMS = 5


class EmulatedTrials(Protocol):
    """How programs with one kernel are built and started."""

    objects: TrialObjects

    @property
    def emulator(self) -> QemuUser | QemuSystem: ...

    def build(self, kernel: CompiledKernel, data: KernelData, folder: Path) -> None: ...

    def start(
        self, folder: Path, options: tuple[str, ...], timeout_s: float
    ) -> subprocess.CompletedProcess[str]: ...

    def missing_feature(self, done: subprocess.CompletedProcess[str]) -> str: ...


class EmulatorRunner(ClosedOnExit):
    """A `TrialRunner` that starts an emulator for each trial; threads may measure side by side.

    A trial's program calls the kernel four times: its numbers are those of the first and of the
    last call, its values the instructions of each of the last three.
    """

    def __init__(self, spec: TargetSpec, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Args:
            timeout_s: the longest that the emulator may take for a trial.

        Raises:
            TargetError: the target names no emulator.
            NotRunnableError: the emulator is not there, counts nothing, or is of another processor.
            ToolchainError: the target's compiler is not there.
        """
        if spec.runner.kind != "emulator" or spec.gpu is not None:
            raise _no_emulator(spec)
        self._spec = spec
        self._timeout_s = timeout_s
        self._temporary = TemporaryDirectory(prefix="tunesmith-trials-")
        try:
            folder = Path(self._temporary.name)
            self._trials: EmulatedTrials = (
                LinuxTrials(spec, folder) if spec.is_hosted else BoardTrials(spec, folder)
            )
            self._counter = self._built_counter(folder)
            self._probe()
        except BaseException:
            self._temporary.cleanup()
            raise

    @property
    def name(self) -> str:
        return "emulator"

    @property
    def unit(self) -> Unit:
        return "instructions"

    @property
    def conditions(self) -> str:
        return (
            f"{self._machine.cpu}; executed instructions of {trial_files.COUNTED_RUNS} calls in a "
            "row, counted by a plugin"
        )

    @property
    def slots(self) -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    def measure(self, kernel: CompiledKernel, data: KernelData) -> Measured:
        with TemporaryDirectory(dir=self._temporary.name) as name:
            folder = Path(name)
            try:
                self._trials.build(kernel, data, folder)
            except (ToolchainError, LimitError) as failure:
                return Measured(outcome="not-built", reason=f"{failure.what}: {failure.why}")
            counter = self._counter.copied_to(folder)
            try:
                done = self._trials.start(folder, counter.emulator_options, self._timeout_s)
            except LateError:
                reason = f"no end within {self._timeout_s:g} s in the emulator"
                return Measured(outcome="timed-out", reason=reason)
            return self._judged(done, data, counter)

    def measure_in_turns(
        self, kernels: Sequence[CompiledKernel], data: KernelData, rounds: int
    ) -> tuple[Measured, ...]:
        """As `measure`, once each: counts do not drift."""
        del rounds
        return tuple(self.measure(kernel, data) for kernel in kernels)

    def close(self) -> None:
        self._temporary.cleanup()

    @property
    def _machine(self) -> Machine:
        return self._trials.emulator.machine

    def _judged(
        self, done: subprocess.CompletedProcess[str], data: KernelData, counter: InstructionCounter
    ) -> Measured:
        missing = self._trials.missing_feature(done)
        if missing:
            raise OtherProcessorError(
                f"{self._machine.cpu} lacks the CPU feature {missing}",
                why=f"candidates are compiled for {self._spec.name}",
                fix="name an emulated processor that has it in the target's [runner] command",
            )
        if done.returncode == trial_files.NO_ROOM:
            return Measured(outcome="not-built", reason=_last_words(done))
        if done.returncode == trial_files.WROTE_OUTSIDE:
            reason = "it writes outside its outputs and scratch"
            return Measured(outcome="wrong-numbers", reason=reason)
        if done.returncode != 0:
            return Measured(outcome="crashed", reason=_last_words(done))
        for outputs in trial_files.read_outputs(counter.folder / trial_files.OUTPUTS, data):
            reason = disagreement(data, outputs)
            if reason:
                return Measured(outcome="wrong-numbers", reason=reason)
        return Measured(outcome="passed", values=trial_files.run_counts(counter.numbers))

    def _built_counter(self, folder: Path) -> InstructionCounter:
        counter = InstructionCounter.build(self._trials.emulator, folder, MARKS)
        if counter is None:
            emulator = self._trials.emulator
            raise NotRunnableError(
                f"{emulator.command[0]} {emulator.version} counts no instructions",
                why="it was built without plugins",
                fix="install a QEMU that was configured with --enable-plugins (Debian's is)",
            )
        return counter

    def _probe(self) -> None:
        """Try a kernel that is right: a candidate must not be blamed for what is missing here."""
        code = Path(self._trials.objects.compiled("src/probe.c", _PROBE)).read_bytes()
        probe = CompiledKernel(
            name="probe",
            phases=(Phase(symbol="probe", extent=_PROBE_ITEMS),),
            memory=KernelMemory(),
            schedule=ScheduleOutcome(source="fallback", name="probe"),
            object_code=code,
            code_bytes=len(code),
        )
        given = np.arange(_PROBE_ITEMS, dtype=np.int32)
        data = KernelData(key="probe", inputs=(given,), expected=(given + 1,))
        measured = self.measure(probe, data)
        if measured.outcome != "passed" or min(measured.values, default=0) < _PROBE_ITEMS:
            raise NotRunnableError(
                f"candidates for {self._spec.name} cannot be measured in {self._machine.cpu}",
                why=measured.reason or f"a probe counted as {measured.values} instructions",
                fix="see that `tunesmith run` works with a model for this target; report it if so",
            )


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    lines = [line for line in lines if "fatal:" in line] or lines  # QEMU prints registers after it
    how = ending(done.returncode)
    return f"{how}: {lines[-1]}" if lines else how


def _no_emulator(spec: TargetSpec) -> TargetError:
    return TargetError(
        f"candidates for target {spec.name} cannot be measured in an emulator",
        why="its [runner] names none",
        fix="tune on this machine or on a board over RPC, or give the target an emulator",
    )
