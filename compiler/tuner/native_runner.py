"""Measures candidates on this machine, in a process that may crash or hang."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import TracebackType
from typing import Any

import numpy as np

from compiler.artifact.entry import is_worth_threads
from compiler.errors import NotRunnableError, ToolchainError
from compiler.program import CompiledKernel
from compiler.runners.machine import this_machine
from compiler.tuner.repeats import FEWEST, REPEAT_S, Repeat, calls_of_a_repeat, kept
from compiler.tuner.trial import KernelData, Measured, TrialRunner
from compiler.tuner.trial_library import TrialLinker
from compiler.tuner.trial_request import (
    CloseRequest,
    ComputeRequest,
    KernelLibrary,
    MeasureRequest,
    MeasureSetup,
    Opened,
    OpenRequest,
    RepeatRequest,
    StoredData,
)
from compiler.tuner.worker_process import (
    WorkerCrashedError,
    WorkerError,
    WorkerProcess,
    WorkerTimedOutError,
)
from compiler.tuning.record import Unit


class TrialError(Exception):
    """A candidate failed; carries how."""

    def __init__(self, measured: Measured) -> None:
        super().__init__(measured.reason)
        self.measured = measured


# Between the second cache and the last one of today's processors, and more than the last one.
_LEAST_BYTES, _MOST_OTHER_BYTES = 1 << 19, 48 << 20
_MODULE = "compiler.tuner.measure_worker"


class NativeRunner(TrialRunner):
    """Kernels are linked here and run in one other process, which is replaced when it dies."""

    def __init__(
        self, threads: int, *, cpus: Sequence[int] | None = None, timeout_s: float = 10.0
    ) -> None:
        """Make a runner; it starts with the `with` statement.

        Args:
            threads: of a session; phases are cut and run as by one.
            cpus: logical processors to run on; None: as the system decides.
            timeout_s: of one candidate, check included.
        """
        self._threads, self._timeout_s = threads, timeout_s
        self._cpus = tuple(cpus or ())
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._stored: dict[str, StoredData] = {}

    @property
    def name(self) -> str:
        return "native"

    @property
    def unit(self) -> Unit:
        return "us"

    @property
    def conditions(self) -> str:
        machine = this_machine()
        threads = "1 thread" if self._threads == 1 else f"{self._threads} threads"
        pinned = f" on processors {', '.join(map(str, self._cpus))}" if self._cpus else ""
        return (
            f"{machine.cpu}, {machine.system}; {threads}{pinned}; one kernel again and again, "
            f"repeats of at least {REPEAT_S * 1e3:g} ms; where other constants of the model fill "
            "caches, they are read before each call, and repeats are one call"
        )

    @property
    def slots(self) -> int:
        return 1

    def __enter__(self) -> NativeRunner:
        """Compile the harness.

        Raises:
            ToolchainError: there is no C compiler, or it fails.
        """
        self._folder = TemporaryDirectory(prefix="tunesmith-trials-")
        try:
            self._linker = TrialLinker(Path(self._folder.name))
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:  # what is measured ends by itself, else it would seem to have crashed
            if self._process is not None:
                self._process.close()
            self._folder.cleanup()

    def measure(self, kernel: CompiledKernel, data: KernelData) -> Measured:
        with self._lock:
            try:
                with self._linked(kernel, data) as library:
                    return self._measured(OpenRequest(kernel=library, data=self._in_files(data)))
            except TrialError as failure:
                return failure.measured

    def measure_in_turns(
        self, kernels: Sequence[CompiledKernel], data: KernelData, rounds: int
    ) -> tuple[Measured, ...]:
        with self._lock, ExitStack() as files:
            requests: dict[int, OpenRequest] = {}
            stored = self._in_files(data)
            results: dict[int, Measured] = {}
            for number, kernel in enumerate(kernels):
                try:
                    library = files.enter_context(self._linked(kernel, data))
                    requests[number] = OpenRequest(kernel=library, data=stored)
                except TrialError as failure:
                    results[number] = failure.measured
            while requests:  # again without one that ended the process, or failed
                failed = self._turns(requests, rounds, results)
                if failed is None:
                    break
                del requests[failed]
        return tuple(results[number] for number in range(len(kernels)))

    def compute(self, kernel: CompiledKernel, data: KernelData) -> tuple[np.ndarray, ...]:
        """Run a kernel once and return what it wrote.

        Args:
            data: `expected` says dtypes and shapes only.

        Raises:
            TrialError: it crashed, or took longer than `timeout_s`.
        """
        with self._lock, self._linked(kernel, data) as library:
            outputs: tuple[np.ndarray, ...] = self._ask(ComputeRequest(kernel=library, data=data))
            return outputs

    def _measured(self, request: OpenRequest) -> Measured:
        self._process = self._process or self._started()
        deadline = monotonic() + self._timeout_s
        opened: Opened = self._ask(request, deadline)
        if opened.failure is not None:
            return opened.failure
        calls = _calls(opened, request.data)
        measure = MeasureRequest(number=opened.number, calls=calls)
        repeats: tuple[Repeat, ...] = self._ask(measure, deadline)
        failure: Measured | None = self._ask(CloseRequest(number=opened.number), deadline)
        return failure or _passed(repeats)

    def _turns(
        self, requests: Mapping[int, OpenRequest], rounds: int, results: dict[int, Measured]
    ) -> int | None:
        """Fill in results; or that of one kernel that failed, and return its number."""
        opened: dict[int, Opened] = {}
        taken: dict[int, list[Repeat]] = {number: [] for number in requests}
        number = -1
        try:
            for number, request in requests.items():
                one: Opened = self._ask(request)
                if one.failure is not None:
                    raise TrialError(one.failure)
                opened[number] = one
            for _ in range(max(rounds, FEWEST)):
                for number, one in opened.items():
                    calls = _calls(one, requests[number].data)
                    repeat = RepeatRequest(number=one.number, calls=calls, count=1)
                    taken[number] += self._ask(repeat)
            for number, one in list(opened.items()):
                close = CloseRequest(number=one.number)
                failure: Measured | None = self._ask(close)
                del opened[number]
                if failure is not None:
                    raise TrialError(failure)
        except TrialError as failed:
            results[number] = failed.measured
            self._close(opened.values())
            return number
        results.update({number: _passed(repeats) for number, repeats in taken.items()})
        return None

    def _close(self, opened: Iterable[Opened]) -> None:
        """Forget kernels of a turn that is not finished."""
        if self._process is not None:
            with suppress(TrialError):
                for one in opened:
                    self._ask(CloseRequest(number=one.number))

    @contextmanager
    def _linked(self, kernel: CompiledKernel, data: KernelData) -> Iterator[KernelLibrary]:
        """A library of the kernel, which is there meanwhile."""
        memory = kernel.memory
        pointers = len(data.inputs) + len(data.expected) + len(memory.scratch_bytes)
        try:
            library = self._linker.link(kernel, pointers + (memory.worker_scratch_bytes > 0))
        except ToolchainError as failure:
            reason = f"cannot be linked: {failure.why}"
            raise TrialError(Measured(outcome="crashed", reason=reason)) from failure
        touched = sum(array.nbytes for array in (*data.inputs, *data.expected))
        worth_it = is_worth_threads(data.macs, touched, kernel.phases)
        try:
            yield KernelLibrary(
                library=library,
                phases=tuple((phase.symbol, phase.extent) for phase in kernel.phases),
                scratch_bytes=memory.scratch_bytes,
                worker_scratch_bytes=memory.worker_scratch_bytes,
                parallel=self._threads > 1 and worth_it,
            )
        finally:
            library.unlink()

    def _in_files(self, data: KernelData) -> StoredData:
        if data.key not in self._stored:
            folder = Path(self._folder.name) / f"data-{len(self._stored)}"
            folder.mkdir()
            for kind, arrays in (("input", data.inputs), ("output", data.expected)):
                for number, array in enumerate(arrays):
                    np.save(folder / f"{kind}{number}.npy", array, allow_pickle=False)
            self._stored[data.key] = StoredData(
                folder=folder,
                input_count=len(data.inputs),
                output_count=len(data.expected),
                tolerance=data.tolerance,
                constants=data.constants,
                other_bytes=_other_bytes(data),
            )
        return self._stored[data.key]

    def _ask(self, request: Any, deadline: float | None = None) -> Any:
        """Ask the process, which is started if there is none; `timeout_s` from now on if None."""
        process = self._process = self._process or self._started()
        left_s = self._timeout_s if deadline is None else deadline - monotonic()
        try:
            return process.ask(request, timeout_s=max(0.0, left_s))
        except WorkerTimedOutError as failure:
            self._process = None
            reason = f"no result in {self._timeout_s:g} s"
            raise TrialError(Measured(outcome="timed-out", reason=reason)) from failure
        except WorkerCrashedError as failure:
            self._process = None
            raise TrialError(Measured(outcome="crashed", reason=str(failure))) from failure

    def _started(self) -> WorkerProcess:
        setup = MeasureSetup(harness=self._linker.harness, threads=self._threads)
        try:
            return WorkerProcess(_MODULE, setup, cpus=self._cpus)
        except WorkerError as cause:
            raise NotRunnableError(
                "kernels cannot be measured on this machine",
                why=f"the process that runs them does not start: {cause}",
                fix="check that there is memory and that programs may run from TMPDIR",
            ) from cause


def _other_bytes(data: KernelData) -> int:
    """Bytes to read between two calls: 0 where the model's constants stay in the second cache.

    Between two calls of a kernel a run reads those of all others. What is more than the last cache
    holds makes no difference.
    """
    own = sum(data.inputs[position].nbytes for position in data.constants)
    total = own + data.other_constant_bytes
    return min(data.other_constant_bytes, _MOST_OTHER_BYTES) if total > _LEAST_BYTES else 0


def _calls(opened: Opened, data: StoredData) -> int:
    return 1 if data.other_bytes else calls_of_a_repeat(opened.call_s)


def _passed(repeats: Sequence[Repeat]) -> Measured:
    return Measured(outcome="passed", values=tuple(repeat.us for repeat in kept(repeats)))
