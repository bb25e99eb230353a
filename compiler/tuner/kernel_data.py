"""Operands for a task's kernel, and what it must make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self

import numpy as np

from compiler.program import CompiledKernel
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.tuner.build_pool import BuildPool, LoweringOptions
from compiler.tuner.native_runner import NativeRunner, TrialError
from compiler.tuner.trial import Candidate, KernelData, Measured, TuningTask

# One call without a schedule: 10 s are some 5e9 multiply-accumulates.
_TIMEOUT_S = 30.0
_NO_STEPS: list[Any] = [[], []]
# Integers of 32 bits and more: indices, which kernels clamp, and sums. A sum of sums in C or LLVM
# must not overflow, since what it is then depends on the order of its terms.
_WIDE_LIMIT = 1 << 20
# Of products of rounded factors, as `verification.comparison` has it.
_ROUNDED_TOLERANCE = 1e-2


class KernelDataSource(ClosedOnExit):
    """Makes the data of tasks. Kernels without a schedule run on this machine, for any target.

    They are built and run in processes of their own, since they may take long.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        precision: Precision = "float32",
        cpus: Sequence[int] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """Make a source; its processes start with the `with` statement.

        Args:
            seed: of the activations.
            precision: of products. What schedules round, the kernel without one does not.
            cpus: logical processors to build and run on; None: as the system decides.
            timeout_s: of a kernel's build, and of its run.
        """
        self._seed, self._precision, self._cpus = seed, precision, cpus
        self._timeout_s = timeout_s
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the processes.

        Raises:
            ToolchainError: there is no C compiler.
        """
        self._host: TargetSpec = load_target("host")
        builder = BuildPool(
            self._host, LoweringOptions(), workers=1, cpus=self._cpus, timeout_s=self._timeout_s
        )
        with ExitStack() as stack:
            self._builder = stack.enter_context(builder)
            self._runner = NativeRunner(1, cpus=self._cpus, timeout_s=self._timeout_s)
            stack.enter_context(self._runner)
            self._stack = stack.pop_all()
        return self

    def close(self) -> None:
        self._stack.close()

    def data(self, task: TuningTask) -> KernelData:
        """Return the data of a task; the same for the same task and seed.

        Where the kernel without a schedule cannot be built or takes too long, `expected` is what
        the default schedule of this machine makes, and `note` says so.

        Raises:
            TrialError: that one fails, too.
        """
        parameters = list(task.func.params)
        inputs = _inputs(task, parameters, self._seed)
        shapes = tuple(
            np.empty(_shape(parameter), array_dtype(_dtype(parameter)))
            for parameter in parameters[task.input_count :]
        )
        data = KernelData(
            key=_key(task, self._seed, inputs),
            inputs=inputs,
            expected=shapes,
            tolerance=1e-4 if self._precision == "float32" else _ROUNDED_TOLERANCE,
            macs=task.macs,
            constants=tuple(i for i, array in enumerate(task.constants) if array is not None),
            other_constant_bytes=task.other_constant_bytes,
        )
        try:
            return replace(data, expected=self._computed(task, data))
        except TrialError as failure:
            note = f"expected numbers are the default schedule's; without one: {failure}"
        return replace(data, expected=self._computed(self._scheduled(task), data), note=note)

    def _computed(self, task: TuningTask, data: KernelData) -> tuple[np.ndarray, ...]:
        return self._runner.compute(self._built(task), data)

    def _built(self, task: TuningTask) -> CompiledKernel:
        built = self._builder.submit(Candidate(task=task, trace=_NO_STEPS, rule="")).result()
        if built.kernel is None:
            raise TrialError(Measured(outcome=built.outcome, reason=built.reason))
        return built.kernel

    def _scheduled(self, task: TuningTask) -> TuningTask:
        """The task with the default schedule of this machine in place of none."""
        from compiler.scheduling import schedule_kernel

        kernel = schedule_kernel(task.kernel, task.func, task.input_count, self._host)
        return replace(task, workload=f"{task.workload}-scheduled", func=kernel.func)


def kernel_data(task: TuningTask, seed: int = 0) -> KernelData:
    """Return the data of one task, as `KernelDataSource` makes it.

    It starts two processes and ends them: for several tasks make a source.

    Raises:
        TrialError: the kernel can be computed neither without a schedule nor with the default one.
    """
    with KernelDataSource(seed) as source:
        return source.data(task)


def array_dtype(dtype: str) -> np.dtype[Any]:
    """The dtype of an array: NumPy knows no bfloat16, such an array holds the bits."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def _dtype(parameter: Any) -> str:
    return str(parameter.ty.dtype)


def _shape(parameter: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in parameter.ty.shape)


def _inputs(task: TuningTask, parameters: Sequence[Any], seed: int) -> tuple[np.ndarray, ...]:
    """Constants as they are, and drawn activations."""
    generator = np.random.default_rng([seed, int(task.workload, 16)])
    found = []
    for parameter, constant in zip(parameters[: task.input_count], task.constants, strict=True):
        shape, dtype = _shape(parameter), _dtype(parameter)
        if constant is None:
            found.append(_drawn(generator, dtype, shape))
        else:
            found.append(np.ascontiguousarray(constant).reshape(shape))
    return tuple(found)


def _drawn(generator: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal floats, any small integers, wide ones within a million of zero."""
    if dtype == "bfloat16":  # the upper half of a float32
        bits = generator.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16
        return np.asarray(bits).astype(np.uint16)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.asarray(generator.standard_normal(shape)).astype(kind)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    limits = np.iinfo(kind)
    least, most = max(limits.min, -_WIDE_LIMIT), min(limits.max, _WIDE_LIMIT)
    return generator.integers(least, most, shape, dtype=kind, endpoint=True)


def _key(task: TuningTask, seed: int, inputs: Sequence[np.ndarray]) -> str:
    """Equal for equal data: kernels of one workload may have other constants."""
    digest = hashlib.blake2b(digest_size=8)
    for array in inputs:
        digest.update(array.tobytes())
    return f"{task.workload}-{seed}-{digest.hexdigest()}"
