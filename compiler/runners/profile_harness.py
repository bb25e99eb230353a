"""A model's shipped code with clocks between its kernels, built when a profile is asked for.

The artifact stays as it is: its static library is linked once more, with ``profile_harness.c``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from compiler import library_abi as abi
from compiler.artifact.manifest import Artifact, check_digest
from compiler.errors import LimitError, ToolchainError
from compiler.library_arrays import pointers
from compiler.toolchain import find_toolchain, run_tool

_FLAGS = ("-std=c99", "-O2", "-fPIC", "-shared", "-Iinclude", "-Isrc")
_LIBRARIES = ("-lm", "-lpthread")
_HEADERS = ("include/tunesmith.h", "src/runtime/runtime.h")
_FUNCTIONS = ("open", "close", "step_count", "first_step", "run", "trace")
_SPANS_PER_STEP = 16  # room for a step whose work is handed out in pieces
_WARM_UP_RUNS = 3  # after these, caches, branch predictors and the pool's threads are awake


class _SpanRecord(ctypes.Structure):
    _fields_ = (
        ("begin_ns", ctypes.c_int64),
        ("end_ns", ctypes.c_int64),
        ("step", ctypes.c_int32),
        ("items", ctypes.c_int32),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A thread's share of one phase of a kernel call."""

    call: int
    phase: int
    thread: int  # 0: the calling one
    begin_ns: int  # since the first span of the run
    end_ns: int
    items: int  # work items


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """Durations in nanoseconds."""

    calls: np.ndarray  # int64[runs, calls]
    runs: np.ndarray  # int64[runs], of whole runs, clocks and final copies included


class ProfileHarness:
    """The clocked code of one artifact. Use one at a time, from one thread."""

    def __init__(self, artifact: Artifact) -> None:
        """Build and load it.

        Raises:
            ArtifactError: a file of the artifact is missing or damaged.
            ToolchainError: there is no C compiler, it fails, or what it made cannot be loaded.
        """
        self._path = artifact.path
        self._call_count = len(artifact.report()["kernels"])
        with TemporaryDirectory(prefix="tunesmith-profile-") as folder:
            self._library = _load(_build(artifact, Path(folder)))

    def measure(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        *,
        threads: int,
        runs: int,
    ) -> Readings:
        """Time `runs` runs, one right after the other, after some that are not counted.

        Raises:
            LimitError: there is not enough memory, or no thread could be started.
        """
        with self._session(threads, with_spans=False):
            steps = self._library.profile_step_count()
            stamps = np.empty((_WARM_UP_RUNS + runs, steps + 3), np.int64)
            error = self._library.profile_run(
                pointers(inputs),
                pointers(outputs),
                len(stamps),
                ctypes.c_void_p(stamps.ctypes.data),
            )
            firsts = self._first_steps()
        self._check(error)
        return readings(stamps[_WARM_UP_RUNS:], firsts)

    def trace(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], *, threads: int
    ) -> tuple[Span, ...]:
        """Return what each thread did in one warm run, by time of begin.

        Of a step that is handed out in more than 16 pieces, a thread's last ones may be missing.

        Raises: as `measure`.
        """
        with self._session(threads, with_spans=True):
            firsts = self._first_steps()
            capacity = _SPANS_PER_STEP * max(1, firsts[-1])
            records = (_SpanRecord * (threads * capacity))()
            for _ in range(_WARM_UP_RUNS + 1):  # the last one stays
                counts = (ctypes.c_int32 * threads)()
                error = self._library.profile_trace(
                    pointers(inputs), pointers(outputs), records, capacity, counts
                )
                self._check(error)
        return _spans(records, list(counts), capacity, firsts)

    def _first_steps(self) -> list[int]:
        """Return the number of each call's first step, and of all steps."""
        return [self._library.profile_first_step(i) for i in range(self._call_count + 1)]

    @contextmanager
    def _session(self, threads: int, *, with_spans: bool) -> Iterator[None]:
        self._check(self._library.profile_open(threads, int(with_spans)))
        try:
            yield
        finally:
            self._library.profile_close()

    def _check(self, error: int) -> None:
        if error == abi.E_MEMORY:
            raise LimitError(
                f"{self._path}: no session could be made",
                why="memory or threads could not be had",
                fix="free some memory, or use fewer threads",
            )
        if error != abi.OK:
            raise RuntimeError(f"tunesmith error {error}")


def readings(stamps: np.ndarray, first_steps: Sequence[int]) -> Readings:
    """Return durations from clock readings.

    Args:
        stamps: int64[runs, steps + 3] in ns: the start, before each step, after the last, the end.
        first_steps: the number of each call's first step, and of all steps.
    """
    boundaries = stamps[:, 1 + np.asarray(first_steps, np.intp)]
    return Readings(calls=np.diff(boundaries, axis=1), runs=stamps[:, -1] - stamps[:, 0])


def _build(artifact: Artifact, folder: Path) -> Path:
    """Link the shipped objects with the clocks and return the library."""
    manifest = artifact.manifest
    for name in (manifest.static_library, *_HEADERS):
        check_digest(artifact, name)
    create = f"{manifest.symbol_prefix}__create"
    defines = (
        f"-DTUNESMITH_PREFIX={manifest.symbol_prefix}",
        f"-DWRAP_CREATE=__wrap_{create}",
        f"-DREAL_CREATE=__real_{create}",
        f"-DMODEL={manifest.symbol_prefix}_model",
    )
    script = folder / "interface.map"
    shown = " ".join(f"profile_{name};" for name in _FUNCTIONS)
    script.write_text(f"{{ global: {shown} local: *; }};\n", encoding="ascii")
    library = folder / "profile.so"
    link = (f"-Wl,--wrap={create}", f"-Wl,--version-script={script}", "-o", str(library))
    with as_file(files("compiler.runners") / "profile_harness.c") as source:
        objects = (str(source), manifest.static_library)
        command = (*find_toolchain().cc, *_FLAGS, *defines, *link, *objects, *_LIBRARIES)
        run_tool(command, folder=artifact.path)
    return library


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as cause:
        raise ToolchainError(
            "the code with clocks cannot be loaded",
            why=str(cause),
            fix="set TMPDIR to a folder that programs may be run from",
        ) from cause


def _spans(
    records: ctypes.Array[_SpanRecord], counts: list[int], capacity: int, first_steps: list[int]
) -> tuple[Span, ...]:
    calls = [
        (call, phase)
        for call, (first, end) in enumerate(pairwise(first_steps))
        for phase in range(end - first)
    ]
    found = [
        (thread, records[thread * capacity + i])
        for thread, count in enumerate(counts)
        for i in range(min(count, capacity))
    ]
    start = min((record.begin_ns for _, record in found), default=0)
    spans = [
        Span(
            call=calls[record.step][0],
            phase=calls[record.step][1],
            thread=thread,
            begin_ns=record.begin_ns - start,
            end_ns=record.end_ns - start,
            items=record.items,
        )
        for thread, record in found
    ]
    return tuple(sorted(spans, key=lambda span: (span.begin_ns, span.thread)))
