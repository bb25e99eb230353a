"""One board on which kernels are tried: a session of its own, and what was sent there."""

from __future__ import annotations

import signal
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from compiler import library_abi as abi
from compiler.board_address import BoardAddress
from compiler.errors import OtherProcessorError
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.rpc_messages import Argument, BoardBlock, KeptBlock
from compiler.runners.rpc_process import RpcProcess
from compiler.runners.rpc_session import TEXT, TEXT_BYTES, block_text, board_machine
from compiler.target_spec import TargetSpec
from compiler.tuner import trial_files
from compiler.tuner.agreement import disagreement
from compiler.tuner.trial import KernelData, Measured

_KEPT_TASKS = 2  # whose inputs stay on the board
_KERNEL_SHARE = 0.5  # of the time that the board has for an answer
_US = 1e-3  # of a nanosecond


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLibrary:
    """A kernel as a library that a board can load, and how it is called."""

    path: Path
    call: bytes  # of trial_files.encoded_call


class TrialBoard(ClosedOnExit):
    """Functions of programs/rpc_board.c and rpc_trial.c on the board."""

    def __init__(self, spec: TargetSpec, address: BoardAddress, questions: Path) -> None:
        """Args:
            questions: the library of programs/rpc_board.c.

        Raises:
            NotRunnableError: no board of the key can be had or used.
            OtherProcessorError: the board lacks what the target's code needs.
        """
        self._triple = spec.llvm.triple
        self._address = address
        self._process = RpcProcess(address)
        self._kept: OrderedDict[str, str] = OrderedDict()  # names of inputs by key of their task
        try:
            self._ask(spec, questions)
        except BaseException:
            self._process.close()
            raise

    def load(self, library: TrialLibrary) -> str:
        """Return the name by which the board knows a library that it has loaded."""
        name = f"tunesmith-{uuid4().hex[:12]}{library.path.suffix}"
        self._process.load(library.path, name, self._triple)
        return name

    def unload(self, name: str) -> None:
        self._process.unload(name)

    def measure(self, name: str, library: TrialLibrary, data: KernelData, repeats: int) -> Measured:
        """Check a loaded kernel's numbers and return its microseconds, `repeats` of them.

        Raises:
            NotRunnableError: the board is gone or hangs; the kernel is not to blame.
        """
        inputs = self._inputs(data)
        outputs = [
            BoardBlock(size_bytes=max(array.nbytes, 1), is_fetched=True) for array in data.expected
        ]
        times = BoardBlock(size_bytes=8 * repeats, is_fetched=True)
        call = BoardBlock(size_bytes=len(library.call), content=library.call)
        limit_ms = int(self._limit_s * 1000)
        arguments = (limit_ms, repeats, times, call, *inputs, *outputs, *outputs)
        result = self._process.call(name, "trial", arguments, doing="trying a kernel")
        if result.status != abi.OK:
            return self._failure(result.status)
        taken, *made = result.blocks
        for first in (0, len(outputs)):
            arrays = [
                block[: array.nbytes].view(array.dtype).reshape(array.shape)
                for block, array in zip(made[first:], data.expected, strict=False)
            ]
            reason = disagreement(data, arrays)
            if reason:
                return Measured(outcome="wrong-numbers", reason=reason)
        return Measured(
            outcome="passed", values=tuple(float(ns) * _US for ns in taken.view(np.float64))
        )

    def close(self) -> None:
        self._process.close()

    @property
    def _limit_s(self) -> float:
        return _KERNEL_SHARE * self._address.timeout_s

    def _ask(self, spec: TargetSpec, questions: Path) -> None:
        name = self.load(TrialLibrary(path=questions, call=b""))
        arguments = (TEXT, TEXT_BYTES)
        described = self._process.call(name, "describe", arguments, doing="being described")
        self.machine = board_machine(described.blocks[0], self._address)
        asked = self._process.call(name, "missing_feature", arguments, doing="being described")
        missing = block_text(asked.blocks[0])
        if missing:
            raise OtherProcessorError(
                f"{self._address} lacks the CPU feature {missing}",
                why=f"candidates are compiled for {spec.name}, the board is {self.machine.cpu}",
                fix="tune for a target whose features the board's processor has",
            )

    def _inputs(self, data: KernelData) -> list[Argument]:
        """The task's inputs on the board, where those of few tasks are kept."""
        if data.key not in self._kept:
            while len(self._kept) >= _KEPT_TASKS:
                _, oldest = self._kept.popitem(last=False)
                self._process.forget(oldest)
            name = uuid4().hex
            contents = [np.ascontiguousarray(array).tobytes() or b"\0" for array in data.inputs]
            self._process.keep(name, contents)
            self._kept[data.key] = name
        self._kept.move_to_end(data.key)
        name = self._kept[data.key]
        return [KeptBlock(name=name, number=number) for number in range(len(data.inputs))]

    def _failure(self, status: int) -> Measured:
        if status == trial_files.WROTE_OUTSIDE:
            reason = "it writes outside its outputs and scratch"
            return Measured(outcome="wrong-numbers", reason=reason)
        if status == -signal.SIGALRM:
            reason = f"no end within {self._limit_s:g} s on the board"
            return Measured(outcome="timed-out", reason=reason)
        if status < 0:
            return Measured(outcome="crashed", reason=f"it ended with {_signal_name(-status)}")
        if status == abi.E_MEMORY:
            return Measured(outcome="not-built", reason="the board has no memory for its operands")
        return Measured(outcome="crashed", reason=f"it ended with status {status}")


def _signal_name(number: int) -> str:
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"
