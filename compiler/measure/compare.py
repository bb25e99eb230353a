"""Compare schedules of one kernel: build each, check its numbers, measure them in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from compiler.errors import InputError, VerificationError
from compiler.measure.comparison import Comparison, MeasuredVariant
from compiler.measure.kernel_list import Kernel, single_kernel
from compiler.measure.variants import (
    DEFAULT,
    FALLBACK,
    RECORD,
    GivenSchedule,
    Variant,
    built_variant,
)
from compiler.target_spec import TargetSpec, runs_here
from compiler.tuner.kernel_data import KernelDataSource
from compiler.tuner.native_runner import NativeRunner, TrialError
from compiler.tuner.trial import KernelData, Measured, TrialRunner
from compiler.tuning.store import NO_RECORDS, Records, read_records
from compiler.tuning.target_key import TargetKey

DEFAULT_ROUNDS = 20


def compare(
    kernel: Kernel | Any,
    schedules: Mapping[str, GivenSchedule] | None = None,
    *,
    target: str | Path | TargetSpec = "host",
    threads: int = 1,
    output_count: int = 1,
    macs: int = 0,
    records: str | Path | None = None,
    rounds: int = DEFAULT_ROUNDS,
    seed: int = 0,
    runner: TrialRunner | None = None,
) -> Comparison:
    """Build the schedules of a kernel, check their numbers and measure those that are right.

    What is expected is computed by the kernel without a schedule. A schedule that gives other
    numbers, crashes or hangs is named with what happened, has no times and no rank. The others
    take turns, so that a drift of the machine hits all alike: in microseconds where this machine
    runs the target, else in instructions counted by its emulator.

    Args:
        kernel: one of `list_kernels`, or a PrimFunc of TVM's, whose inputs stand before its
            outputs.
        schedules: by the names that the result has. Each is "default" (what `compile` takes without
            records), "fallback", "record" (the best one in `records`), a rule (a function of
            PrimFunc and TargetSpec that returns a schedule or None), a schedule of TVM's, or a
            record. The default is always there; if None, the fallback is beside it.
        target, threads, output_count, macs: of a PrimFunc; a kernel of a model knows its own. Macs
            are of one call: without them there are no GFLOP/s.
        records: a folder of tuning records.
        rounds: how often each is measured.
        seed: of the operands that the model has no constants for.
        runner: what measures; a runner of the tuner's for boards, for example.

    Raises:
        CompilerError: a schedule is none or of another kernel, the target is a GPU, or nothing here
            can measure for it.
    """
    if not isinstance(kernel, Kernel):
        kernel = single_kernel(
            kernel, target=target, threads=threads, output_count=output_count, macs=macs
        )
    given = {DEFAULT: DEFAULT, FALLBACK: FALLBACK} if schedules is None else dict(schedules)
    given = {DEFAULT: given.get(DEFAULT, DEFAULT), **given}
    known = _records(records, kernel.key, given)
    variants = [built_variant(name, one, kernel, known) for name, one in given.items()]
    with _opened(runner, kernel.spec) as opened:
        return Comparison(
            kernel=kernel,
            results=_measured(variants, kernel, opened, seed, rounds),
            unit=opened.unit,
            conditions=opened.conditions,
        )


def _opened(runner: TrialRunner | None, spec: TargetSpec) -> AbstractContextManager[TrialRunner]:
    """What measures: the one that was given, which stays open; else this machine or an emulator."""
    if runner is not None:
        return nullcontext(runner)
    if runs_here(spec):
        return NativeRunner(spec.cores.count, cpus=None)
    from compiler.tuner.emulator_runner import EmulatorRunner

    return EmulatorRunner(spec)


def _measured(
    variants: Sequence[Variant], kernel: Kernel, runner: TrialRunner, seed: int, rounds: int
) -> tuple[MeasuredVariant, ...]:
    """Check each variant by itself; those that are right take turns."""
    data = _operands(kernel, seed)
    found = {variant.name: _checked(variant, data, runner) for variant in variants}
    right = {
        variant.name: variant.kernel
        for variant in variants
        if variant.kernel is not None and found[variant.name].outcome == "passed"
    }
    timed = runner.measure_in_turns(tuple(right.values()), data, rounds)
    found |= dict(zip(right, timed, strict=True))
    return tuple(
        MeasuredVariant(variant=variant, measured=found[variant.name]) for variant in variants
    )


def _operands(kernel: Kernel, seed: int) -> KernelData:
    try:
        with KernelDataSource(seed, precision=kernel.precision) as source:
            return source.data(kernel.task)
    except TrialError as failure:
        raise VerificationError(
            f"schedules of {kernel.name} have nothing to be compared with",
            why=f"it was computed neither without a schedule nor by the default one: {failure}",
            fix="report the model",
        ) from failure


def _checked(variant: Variant, data: KernelData, runner: TrialRunner) -> Measured:
    if variant.kernel is None:
        return Measured(outcome=variant.outcome, reason=variant.reason)
    return runner.measure(variant.kernel, data)


def _records(
    folder: str | Path | None, key: TargetKey, given: Mapping[str, GivenSchedule]
) -> Records:
    if folder is not None:
        return read_records(Path(folder), key)
    if RECORD in [one for one in given.values() if isinstance(one, str)]:
        raise InputError(
            "there is no record to compare",
            why="no folder of tuning records was named",
            fix='give records=FOLDER, or leave out "record"',
        )
    return NO_RECORDS
