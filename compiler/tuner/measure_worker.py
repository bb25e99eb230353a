"""Runs in the process that measures for `NativeRunner`: kernels are loaded, checked and timed."""

from __future__ import annotations

import ctypes
import time
from _ctypes import dlclose
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from compiler.tuner.agreement import disagreement
from compiler.tuner.guarded_memory import GuardedMemory
from compiler.tuner.repeats import REPEAT_S, TOTAL_S, Repeat, is_enough
from compiler.tuner.trial import KernelData, Measured
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
from compiler.tuner.worker_loop import serve

_KEPT_DATA = 4  # tasks whose operands stay in memory
_UNWRITTEN = 0xFF  # a NaN as a float, -1 as an integer: what reads it is found out


def main() -> None:
    """Answer the requests of `trial_request`."""
    serve(_prepare)


def _prepare(setup: MeasureSetup) -> Callable[[Any], Any]:
    bench = _Bench(setup)
    answers: dict[type, Callable[[Any], Any]] = {
        OpenRequest: bench.open,
        ComputeRequest: bench.compute,
        RepeatRequest: bench.repeat,
        MeasureRequest: bench.measure,
        CloseRequest: bench.close,
    }
    return lambda request: answers[type(request)](request)


class _Phase(ctypes.Structure):
    _fields_ = (("function", ctypes.c_void_p), ("extent", ctypes.c_int32))


class _Memory(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("bytes", ctypes.c_int64))


class _Kernel(ctypes.Structure):
    _fields_ = (
        ("call", ctypes.c_void_p),
        ("phases", ctypes.POINTER(_Phase)),
        ("phase_count", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("pointers", ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))),
        ("pool", ctypes.c_void_p),
        ("others", ctypes.c_void_p),
        ("other_bytes", ctypes.c_int64),
        ("blocks", ctypes.POINTER(_Memory)),
        ("block_count", ctypes.c_int32),
    )


class _Repeat(ctypes.Structure):
    _fields_ = (("ns", ctypes.c_int64), ("interruptions", ctypes.c_int64))


class _Operands:
    """Inputs of a task in memory, and what its outputs should be."""

    def __init__(self, harness: ctypes.CDLL, data: KernelData, other_bytes: int = 0) -> None:
        """Lay them out.

        Args:
            other_bytes: of the model's other constants, read between two calls that are timed.
        """
        self.data = data
        self.others = np.ones(other_bytes, np.uint8)  # not zeros: those would share one page
        self.memory = GuardedMemory(harness, [array.nbytes for array in data.inputs])
        for position, array in enumerate(data.inputs):
            self.memory.array(position)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._before = self.memory.content.copy()

    def activations(self) -> list[np.ndarray]:
        """Inputs that another kernel has just written when this one is called: [bytes] of uint8."""
        count = len(self.data.inputs)
        return [self.memory.array(i) for i in range(count) if i not in self.data.constants]

    def restore(self) -> bool:
        """Make inputs what they were; say whether they were something else."""
        if np.array_equal(self.memory.content, self._before):
            return False
        self.memory.content[:] = self._before
        return True


def _read(stored: StoredData) -> KernelData:
    inputs = [np.load(stored.folder / f"input{i}.npy") for i in range(stored.input_count)]
    outputs = [np.load(stored.folder / f"output{i}.npy") for i in range(stored.output_count)]
    return KernelData(
        key=str(stored.folder),
        inputs=tuple(inputs),
        expected=tuple(outputs),
        tolerance=stored.tolerance,
        constants=stored.constants,
    )


class _Trial:
    """A kernel with its pointers and the memory that it may write."""

    def __init__(
        self,
        harness: ctypes.CDLL,
        threads: int,
        pool: int,
        request: KernelLibrary,
        operands: _Operands,
    ) -> None:
        self._harness = harness
        self._operands = operands
        self._expected = operands.data.expected
        self.library = ctypes.CDLL(str(request.library), mode=0)
        workers = threads if request.parallel else 1
        per_worker = [request.worker_scratch_bytes] if request.worker_scratch_bytes else []
        outputs = [array.nbytes for array in self._expected]
        self.memory = GuardedMemory(
            harness, [*outputs, *request.scratch_bytes, *per_worker * workers]
        )
        for position in range(len(self.memory.addresses)):
            self.memory.array(position)[:] = _UNWRITTEN
        shared = len(outputs) + len(request.scratch_bytes)
        pointers = [*operands.memory.addresses, *self.memory.addresses[:shared]]
        own = self.memory.addresses[shared:]
        self._pointers = [
            (ctypes.c_void_p * (len(pointers) + len(per_worker)))(
                *pointers, *([own[worker]] if per_worker else [])
            )
            for worker in range(workers)
        ]
        self._phases = (_Phase * len(request.phases))(
            *(
                _Phase(ctypes.cast(self.library[symbol], ctypes.c_void_p), extent)
                for symbol, extent in request.phases
            )
        )
        table = (ctypes.POINTER(ctypes.c_void_p) * workers)(
            *(ctypes.cast(one, ctypes.POINTER(ctypes.c_void_p)) for one in self._pointers)
        )
        self._table = table
        written = [*operands.activations(), self.memory.content]
        self._blocks = (_Memory * len(written))(
            *(_Memory(block.ctypes.data, block.nbytes) for block in written)
        )
        self._kernel = _Kernel(
            call=ctypes.cast(self.library["trial_call"], ctypes.c_void_p),
            phases=self._phases,
            phase_count=len(self._phases),
            threads=workers,
            pointers=table,
            pool=pool,
            others=operands.others.ctypes.data,
            other_bytes=operands.others.nbytes,
            blocks=self._blocks,
            block_count=len(self._blocks),
        )

    def check(self) -> str:
        """Run it once; say what is wrong with it."""
        self._first = self.run()
        return self.wrong_writes() or disagreement(self._operands.data, self._first)

    def run(self) -> list[np.ndarray]:
        """Run it once; return what it wrote."""
        self._harness.trial_run(ctypes.byref(self._kernel))
        return [array.copy() for array in self._outputs()]

    def check_again(self) -> str:
        """Say what went wrong since `check`."""
        wrong = self.wrong_writes()
        same = all(
            np.array_equal(now.view(np.uint8), then.view(np.uint8))
            for now, then in zip(self._outputs(), self._first, strict=True)
        )
        return wrong or ("" if same else "a later run gave other numbers than the first one")

    def wrong_writes(self) -> str:
        """Say where it wrote what it must not."""
        if self._operands.restore():
            return "it wrote to its inputs, or beside them"
        overrun = self.memory.overrun()
        if overrun is None:
            return ""
        count = len(self._expected)
        named = f"output {overrun}" if overrun < count else f"scratch block {overrun - count}"
        return f"it wrote beside {named}"

    def repeats(self, calls: int, count: int) -> tuple[Repeat, ...]:
        taken = (_Repeat * count)()
        self._harness.trial_measure(
            ctypes.byref(self._kernel), ctypes.c_int64(calls), ctypes.c_int32(count), taken
        )
        return tuple(
            Repeat(us=one.ns / calls / 1e3, undisturbed=one.interruptions == 0) for one in taken
        )

    def close(self) -> None:
        dlclose(self.library._handle)
        self.memory.free()

    def _outputs(self) -> list[np.ndarray]:
        return [
            self.memory.array(position).view(wanted.dtype).reshape(wanted.shape)
            for position, wanted in enumerate(self._expected)
        ]


class _Bench:
    """Opened kernels, and operands of the tasks that were measured last."""

    def __init__(self, setup: MeasureSetup) -> None:
        # Global: kernels find functions of libm in what the harness was linked with.
        self._harness = ctypes.CDLL(str(setup.harness), mode=ctypes.RTLD_GLOBAL)
        self._harness.trial_map.restype = ctypes.c_void_p
        self._harness.trial_open_pool.restype = ctypes.c_void_p
        self._threads = setup.threads
        self._pool = self._harness.trial_open_pool(setup.threads) if setup.threads > 1 else 0
        self._data: OrderedDict[str, _Operands] = OrderedDict()
        self._trials: dict[int, _Trial] = {}
        self._count = 0

    def open(self, request: OpenRequest) -> Opened:
        self._count += 1
        data = self._operands(request.data)
        try:
            trial = self._trial(request.kernel, data)
        except (OSError, AttributeError) as failure:  # a symbol is missing
            reason = f"cannot be loaded: {failure}"
            return Opened(number=0, failure=Measured(outcome="crashed", reason=reason))
        wrong = trial.check()
        if wrong:
            trial.close()
            return Opened(number=0, failure=Measured(outcome="wrong-numbers", reason=wrong))
        self._trials[self._count] = trial
        (once,) = trial.repeats(calls=1, count=1)
        if once.us < 1e6 * REPEAT_S:  # its code and operands may not have been in the caches
            (once,) = trial.repeats(calls=1, count=1)
        return Opened(number=self._count, failure=None, call_s=once.us / 1e6)

    def compute(self, request: ComputeRequest) -> tuple[np.ndarray, ...]:
        operands = _Operands(self._harness, request.data)
        trial = self._trial(request.kernel, operands)
        outputs = trial.run()
        trial.close()
        operands.memory.free()
        return tuple(outputs)

    def _trial(self, kernel: KernelLibrary, operands: _Operands) -> _Trial:
        return _Trial(self._harness, self._threads, self._pool, kernel, operands)

    def repeat(self, request: RepeatRequest) -> tuple[Repeat, ...]:
        return self._trials[request.number].repeats(request.calls, request.count)

    def measure(self, request: MeasureRequest) -> tuple[Repeat, ...]:
        trial = self._trials[request.number]
        found: list[Repeat] = []
        end = time.monotonic() + TOTAL_S
        while not is_enough(found, time_is_up=time.monotonic() > end):
            found += trial.repeats(request.calls, 1)
        return tuple(found)

    def close(self, request: CloseRequest) -> Measured | None:
        trial = self._trials.pop(request.number)
        wrong = trial.check_again()
        trial.close()
        return Measured(outcome="wrong-numbers", reason=wrong) if wrong else None

    def _operands(self, stored: StoredData) -> _Operands:
        key = str(stored.folder)
        if key not in self._data:
            self._data[key] = _Operands(self._harness, _read(stored), stored.other_bytes)
            if len(self._data) > _KEPT_DATA:  # opened kernels are of one task, the newest
                _, oldest = self._data.popitem(last=False)
                oldest.memory.free()
        self._data.move_to_end(key)
        return self._data[key]
