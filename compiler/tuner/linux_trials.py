"""Trials of kernels for Linux on another processor, in QEMU's user-mode emulation."""

from __future__ import annotations

import subprocess
from pathlib import Path
from threading import Lock

from compiler.artifact.cpu_check import cpu_check_source
from compiler.program import CompiledKernel
from compiler.runners.qemu_user import QemuUser, emulator_of
from compiler.target_spec import TargetSpec, required_cpu_features
from compiler.toolchain import run_tool, static_program_command
from compiler.tuner import trial_files
from compiler.tuner.trial import KernelData
from compiler.tuner.trial_objects import TrialObjects, renamed_object

_PROGRAM = "linux_trial"
_SOURCES = ("linux_trial.c", "trial_call.h", "trial_marks.h")
_OTHER_CPU = 4  # exit status of programs/linux_trial.c


class LinuxTrials:
    """Links a program for each trial and starts it."""

    def __init__(self, spec: TargetSpec, folder: Path) -> None:
        self.emulator: QemuUser = emulator_of(spec.runner.command, spec.name, spec.llvm.triple)
        self.objects = TrialObjects(spec, folder, _SOURCES)
        self._command = static_program_command(self.objects.toolchain)
        check = cpu_check_source(required_cpu_features(spec), architecture=spec.llvm.architecture)
        self._harness = (
            self.objects.compiled("src/linux_trial.c", command=self._command),
            self.objects.compiled("src/cpu_check.c", check),
        )
        self._inputs: dict[str, Path] = {}
        self._lock = Lock()

    def build(self, kernel: CompiledKernel, data: KernelData, folder: Path) -> None:
        """Put the trial's program and call into `folder`."""
        (folder / "kernel.o").write_bytes(renamed_object(kernel))
        called = self.objects.of_calls(kernel, trial_files.pointer_count(kernel, data))
        command = (*self._command, "-o", _PROGRAM, *self._harness, "kernel.o", *called, "-lm")
        run_tool(command, folder=folder)
        (folder / trial_files.CALL).write_bytes(trial_files.encoded_call(kernel, data))
        (folder / trial_files.INPUTS).symlink_to(self._inputs_of(data))

    def start(
        self, folder: Path, options: tuple[str, ...], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        words = (trial_files.CALL, trial_files.INPUTS, trial_files.OUTPUTS)
        return self.emulator.start((_PROGRAM, *words), folder, options, timeout_s)

    def missing_feature(self, done: subprocess.CompletedProcess[str]) -> str:
        """What the emulated processor lacks of the target's, if the program said so."""
        return done.stderr.strip() if done.returncode == _OTHER_CPU else ""

    def _inputs_of(self, data: KernelData) -> Path:
        with self._lock:
            if data.key not in self._inputs:
                path = self.objects.folder / f"inputs_{len(self._inputs)}.bin"
                trial_files.write_inputs(path, data)
                self._inputs[data.key] = path
            return self._inputs[data.key]
