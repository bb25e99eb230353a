"""What `NativeRunner` asks of the process that measures. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compiler.tuner.trial import KernelData, Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureSetup:
    """What holds for all requests."""

    harness: Path
    threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredData:
    """A `KernelData` in files, which are read when it is first used."""

    folder: Path
    input_count: int
    output_count: int
    tolerance: float
    constants: tuple[int, ...]
    other_bytes: int  # read between two calls that are timed; 0: calls follow one another


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelLibrary:
    """A kernel by `trial_library`, and how it is called."""

    library: Path
    phases: tuple[tuple[str, int], ...]  # symbol and extent
    scratch_bytes: tuple[int, ...]
    worker_scratch_bytes: int
    parallel: bool  # whether a session gives it to its threads


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRequest:
    """Load a kernel and check its numbers: answered by an `Opened`."""

    kernel: KernelLibrary
    data: StoredData


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeRequest:
    """Run a kernel once: answered by what it wrote, a tuple of arrays."""

    kernel: KernelLibrary
    data: KernelData  # `expected` says dtypes and shapes only


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A kernel that may be measured, or how it failed."""

    number: int  # of later requests
    failure: Measured | None
    call_s: float = 0.0  # of one call, once


@dataclass(frozen=True, kw_only=True, slots=True)
class RepeatRequest:
    """Measure an opened kernel: answered by a tuple of `Repeat`."""

    number: int
    calls: int  # of each repeat
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureRequest:
    """Measure an opened kernel until its times agree: answered by a tuple of `Repeat`."""

    number: int
    calls: int  # of each repeat


@dataclass(frozen=True, kw_only=True, slots=True)
class CloseRequest:
    """Check an opened kernel once more, and forget it: answered by what is wrong, or None."""

    number: int
