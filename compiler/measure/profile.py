"""Time every kernel call of an artifact and set it beside the machine's peaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from compiler.artifact.manifest import Artifact, read_artifact
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import ArtifactError, InputError
from compiler.library import load
from compiler.library_arrays import checked_inputs
from compiler.measure.peaks import measure_peaks_of_code
from compiler.measure.profile_result import ProfileResult, call_profiles
from compiler.measure.profile_trace import trace_events, write_trace
from compiler.runners.profile_harness import ProfileHarness

DEFAULT_RUNS = 50


def profile(
    path: str | Path,
    *,
    inputs: Mapping[str, np.ndarray] | None = None,
    threads: int = 1,
    runs: int = DEFAULT_RUNS,
    trace: str | Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> ProfileResult:
    """Run the artifact in the folder `path` with clocks between its kernel calls.

    Each call finds the caches as a real run leaves them. The artifact itself has no clocks and is
    not changed; a copy of its code with them is linked for the occasion by the machine's C
    compiler.

    Args:
        inputs: arrays by name; None draws the same ones every time.
        threads: how many threads share the work, the calling one included.
        runs: how many runs are timed.
        trace: write one further run to this file, as trace events for Perfetto.
        report: told what is being done.

    Raises:
        ArtifactError: the artifact is damaged, or not for this machine, or for a GPU.
        InputError: an array is wrong, or `threads` or `runs` is less than 1.
        LimitError: there is not enough memory.
        ToolchainError: there is no C compiler, or it fails.
    """
    if runs < 1:
        raise InputError(
            f"runs={runs} is not possible", why="nothing is timed", fix="give 1 or more"
        )
    _refuse_gpu(read_artifact(Path(path)))
    library = load(path, threads=threads)
    given = drawn_inputs(library.inputs) if inputs is None else inputs
    arrays = checked_inputs(library.inputs, given)
    outputs = [np.empty(spec.shape, spec.array_dtype) for spec in library.outputs]
    artifact = library.artifact
    report("linking the code with clocks")
    harness = ProfileHarness(artifact)
    report("measuring the machine's peaks")
    peaks = measure_peaks_of_code(artifact.manifest.cpu_features, threads=threads)
    report("running")
    measured = harness.measure(arrays, outputs, threads=threads, runs=runs)
    result = ProfileResult(
        calls=call_profiles(artifact.report()["kernels"], measured.calls.T.tolist(), peaks),
        run_minimum_us=int(measured.runs.min()) / 1e3,
        run_median_us=median(measured.runs.tolist()) / 1e3,
        peaks=peaks,
        settings=_settings(artifact, threads, runs, inputs is None),
    )
    if trace is not None:
        spans = harness.trace(arrays, outputs, threads=threads)
        title = artifact.manifest.model.name
        write_trace(Path(trace), trace_events(spans, result.calls, title=title, threads=threads))
    return result


def _settings(artifact: Artifact, threads: int, runs: int, drawn: bool) -> dict[str, Any]:
    from compiler.runners.machine import this_machine

    machine = this_machine()
    manifest = artifact.manifest
    return {
        "artifact": str(artifact.path),
        "model": manifest.model.name,
        "target": manifest.target.name,
        "records_used": list(manifest.provenance.records_used),
        "threads": threads,
        "runs": runs,
        "inputs": "drawn" if drawn else "given",
        "rates_from": "minimum times",
        "cpu": machine.cpu,
        "system": machine.system,
    }


def _refuse_gpu(artifact: Artifact) -> None:
    if artifact.manifest.target.family == "gpu":
        raise ArtifactError(
            f"{artifact.path} cannot be profiled",
            why=f"{artifact.manifest.target.name} is a GPU, and the clocks stand between calls of "
            "the processor",
            fix="use NVIDIA's Nsight Systems on a program that runs the library",
        )
