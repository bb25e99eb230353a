"""Trials of kernels for a microcontroller, in QEMU's emulation of its board."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from compiler.artifact.board import Board, board_files, board_of
from compiler.artifact.write import write_file
from compiler.bare_metal_flags import COMPILE_FLAGS
from compiler.program import CompiledKernel
from compiler.runners.qemu_system import QemuSystem, board_emulator
from compiler.target_spec import TargetSpec
from compiler.toolchain import run_tool
from compiler.tuner import trial_files
from compiler.tuner.trial import KernelData
from compiler.tuner.trial_objects import PREFIX, TrialObjects, renamed_object

_FIRMWARE = "trial.elf"
_CODE_BYTES = 65_536  # of a kernel and what it calls: whether its inputs fit beside them
# The linker script finds large constants, which may lie in another flash, by such a name.
_CONSTANTS = "_weights"
_SOURCES = ("firmware_trial.c", "trial_call.h", "trial_marks.h", "semihosting.h")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inputs:
    """The operands of a task as part of a firmware."""

    object: str
    linker_script: Path  # with a flash that has room for them


class BoardTrials:
    """Links a firmware for each trial and starts it."""

    def __init__(self, spec: TargetSpec, folder: Path) -> None:
        self.emulator: QemuSystem = board_emulator(spec.runner.command, spec.name, spec.llvm.triple)
        self.objects = TrialObjects(spec, folder, _SOURCES)
        self._board = board_of(spec)
        startup = board_files(self._board, PREFIX, 0, 0)["board/startup.c"]
        write_file(folder / "src" / "firmware_trial_memory.h", _free_memory(self._board))
        self._harness = (
            self.objects.compiled("src/firmware_trial.c"),
            self.objects.compiled("src/startup.c", startup),
        )
        self._inputs: dict[str, _Inputs] = {}
        self._lock = Lock()

    def build(self, kernel: CompiledKernel, data: KernelData, folder: Path) -> None:
        """Put the trial's firmware and call into `folder`.

        Raises:
            LimitError: no flash has room for the inputs.
        """
        inputs = self._inputs_of(data)
        (folder / "kernel.o").write_bytes(renamed_object(kernel))
        called = self.objects.of_calls(kernel, trial_files.pointer_count(kernel, data))
        flags = (*COMPILE_FLAGS, "-nostartfiles", "-Wl,--gc-sections")
        script = ("-T", str(inputs.linker_script))
        linked = (*self._harness, inputs.object, "kernel.o", *called, "-lm")
        command = (*self.objects.toolchain.cc, *flags, *script, "-o", _FIRMWARE, *linked)
        run_tool(command, folder=folder)
        (folder / trial_files.CALL).write_bytes(trial_files.encoded_call(kernel, data))

    def start(
        self, folder: Path, options: tuple[str, ...], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        return self.emulator.start(_FIRMWARE, folder, options, timeout_s)

    def missing_feature(self, done: subprocess.CompletedProcess[str]) -> str:
        """Nothing: a board is one processor, and firmware does not ask what it is."""
        del done
        return ""

    def _inputs_of(self, data: KernelData) -> _Inputs:
        with self._lock:
            if data.key not in self._inputs:
                self._inputs[data.key] = self._made_inputs(data, len(self._inputs))
            return self._inputs[data.key]

    def _made_inputs(self, data: KernelData, number: int) -> _Inputs:
        name = f"inputs_{number}{_CONSTANTS}"
        size = trial_files.write_inputs(self.objects.folder / "src" / f"{name}.bin", data)
        text = board_files(self._board, PREFIX, _CODE_BYTES, size)["board/link.ld"]
        script = self.objects.folder / f"{name}.ld"
        write_file(script, text)
        lines = (
            f'.section .rodata.{PREFIX}_inputs, "a"',
            f".balign {trial_files.ALIGNMENT}",
            f".global {PREFIX}_inputs",
            f"{PREFIX}_inputs:",
            f'.incbin "src/{name}.bin"',
        )
        made = self.objects.compiled(f"src/{name}.S", "\n".join(lines) + "\n")
        return _Inputs(object=made, linker_script=script)


def _free_memory(board: Board) -> str:
    """C text that says where RAM is neither variables' nor the stack's."""
    regions = [region for region in board.regions if region.kind == "ram"]
    lines = ["#include <stdint.h>"]
    lines += [f"extern char ts_end_{region.name}[];" for region in regions]
    ends = []
    for region in regions:
        end = region.start_address + region.size_bytes
        if region.name == board.stack_region:
            end -= board.stack_bytes
        ends.append(f"{{(uintptr_t)ts_end_{region.name}, {end:#x}u}}")
    lines.append(
        f"static struct {{ uintptr_t begin, end; }} free_memory[] = {{{', '.join(ends)}}};"
    )
    return "\n".join(lines) + "\n"
