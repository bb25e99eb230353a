"""Two builds of a model, run in turns: which one is slower, and which of its kernels are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import NotRunnableError
from compiler.runners.open_runner import open_runner
from compiler.runners.profile_harness import ProfileHarness
from compiler.runners.runner import Arrays, Runner
from compiler.tuning.record import Unit

_TURN_S = 0.05  # of one build, before the other one's turn
# By where its pages happen to lie a build may be 2 % slower or faster than the same one elsewhere.
# Those of weights stay where they are as long as their file does: so both are copied and opened so
# often, and the median of that decides.
OPENINGS = 7
_FEWEST_ROUNDS, _MOST_ROUNDS = 1, 5  # of each opening
_LEAST_MARGIN, _MOST_MARGIN = 0.005, 0.02
_PROFILED_RUNS = 5
_PROFILED_ROUNDS = 9  # each with pages of its own
_FEWEST_CONTROLS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTimes:
    """What a run takes in two builds of one model."""

    unit: Unit
    old: float  # median over all runs, or instructions of one
    new: float
    ratio: float  # new to old: median over openings, in each of rounds in which both had a turn
    margin: float  # by which the ratio may be off
    rounds: int  # of all openings

    @property
    def is_slower(self) -> bool:
        """Whether the new build looks slower: a gain within the margin is not worth the doubt."""
        return self.ratio > 1


def compare_runs(
    old: Artifact, new: Artifact, *, threads: int, budget_s: float, openings: int = OPENINGS
) -> RunTimes:
    """Run both, in turns where runs are timed, where the target's runner says.

    Args:
        budget_s: what the timed runs may take together; a few rounds are run in any case.
        openings: how often both are opened anew.

    Raises:
        NotRunnableError, OtherMachineError: nothing here runs the target, or counts.
    """
    start = monotonic()
    taken: tuple[list[float], list[float]] = ([], [])
    ratios: list[float] = []
    rounds = 0
    for number in range(1, openings + 1):
        with _elsewhere(old) as first_copy, _elsewhere(new) as second_copy, ExitStack() as stack:
            first, second = (
                stack.enter_context(open_runner(one, threads)) for one in (first_copy, second_copy)
            )
            arrays = drawn_inputs(first.inputs)
            if first.is_emulated:
                return _counted(first, second, arrays)
            found = _timed(first, second, arrays, start + budget_s * number / openings)
        for times, more in zip(taken, (found.old, found.new), strict=True):
            times.extend(more)
        ratios.append(median(found.ratios))
        rounds += len(found.ratios)
    return RunTimes(
        unit="us",
        old=1e6 * median(taken[0]),
        new=1e6 * median(taken[1]),
        ratio=median(ratios),
        margin=margin_of(ratios),
        rounds=rounds,
    )


@contextmanager
def _elsewhere(artifact: Artifact) -> Iterator[Artifact]:
    """The artifact in files of its own, if it runs on this machine."""
    if artifact.manifest.runner.kind != "native":
        yield artifact
        return
    with TemporaryDirectory(prefix="tunesmith-copy-") as work:
        copy = Path(work) / artifact.path.name
        linked = artifact.static_library_path
        not_needed = () if linked == artifact.library_path else (linked.name,)
        try:
            shutil.copytree(artifact.path, copy, ignore=shutil.ignore_patterns(*not_needed))
        except (OSError, shutil.Error) as failure:
            raise NotRunnableError(
                f"{artifact.path} cannot be copied",
                why=str(failure),
                fix=f"make room in {work}, or set TMPDIR to a folder that has some",
            ) from failure
        yield replace(artifact, path=copy)


def _counted(old: Runner, new: Runner, arrays: Arrays) -> RunTimes:
    counts = [runner.run([arrays], count=True).instruction_count for runner in (old, new)]
    if counts[0] is None or counts[1] is None:
        raise NotRunnableError(
            "two builds cannot be compared",
            why="the emulator was built without plugins, which count instructions",
            fix="use another build of QEMU",
        )
    return RunTimes(
        unit="instructions",
        old=counts[0],
        new=counts[1],
        ratio=counts[1] / counts[0],
        margin=0.0,
        rounds=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opening:
    """What runs took, in seconds, of two builds that were opened side by side."""

    old: list[float]
    new: list[float]
    ratios: list[float]  # of the medians of each round


def _timed(old: Runner, new: Runner, arrays: Arrays, end: float) -> _Opening:
    once = max(1e-6, *old.time(arrays, 1))
    runs = max(1, min(200, round(_TURN_S / once)))
    taken: dict[Runner, list[float]] = {old: [], new: []}
    ratios: list[float] = []
    while len(ratios) < _FEWEST_ROUNDS or (len(ratios) < _MOST_ROUNDS and monotonic() < end):
        turn = {}
        for runner in (old, new) if len(ratios) % 2 == 0 else (new, old):
            times = runner.time(arrays, runs)
            turn[runner] = median(times)
            taken[runner] += times
        ratios.append(turn[new] / turn[old])
    return _Opening(old=taken[old], new=taken[new], ratios=ratios)


def margin_of(ratios: Sequence[float]) -> float:
    """Return twice the standard error of the median of these, within reason.

    1.4826 times the median distance from the median estimates the standard deviation of normal
    numbers, and the median of n has 1.2533 / sqrt(n) of that.
    """
    middle = median(ratios)
    deviation = 1.4826 * median(abs(ratio - middle) for ratio in ratios)
    error = 1.2533 * deviation / float(np.sqrt(len(ratios)))
    return float(min(max(2 * error, _LEAST_MARGIN), _MOST_MARGIN))


def kernel_ratios(old: Artifact, new: Artifact, *, threads: int) -> Mapping[str, float]:
    """Return how much longer each kernel of both builds takes in the new one, on this machine.

    Times are those between the other kernels of a run: what is in the caches is real. Kernels that
    the builds call differently often are left out. Those whose code is the same in both tell by how
    much the machine was slower in one build's turn, and all ratios are corrected by that.
    """
    clocked = [_Clocked(artifact, threads) for artifact in (old, new)]
    rounds = []
    for number in range(_PROFILED_ROUNDS):
        order = clocked if number % 2 == 0 else clocked[::-1]
        times = {one: one.kernels() for one in order}
        rounds.append(_ratios(times[clocked[0]], times[clocked[1]]))
    ratios = {kernel: median(found[kernel] for found in rounds) for kernel in rounds[0]}
    codes = [code_of_kernels(artifact) for artifact in (old, new)]
    controls = [ratio for kernel, ratio in ratios.items() if codes[0][kernel] == codes[1][kernel]]
    drift = median(controls) if len(controls) >= _FEWEST_CONTROLS else 1.0
    return {kernel: ratio / drift for kernel, ratio in ratios.items()}


_Times = Mapping[str, tuple[int, float]]  # by kernel: its calls in a run, and their ns together


def _ratios(before: _Times, after: _Times) -> dict[str, float]:
    return {
        kernel: after[kernel][1] / max(time, 1.0)
        for kernel, (calls, time) in before.items()
        if kernel in after and after[kernel][0] == calls
    }


def code_of_kernels(artifact: Artifact) -> dict[str, str]:
    """Return a name of each kernel's code: equal for equal code."""
    return {call["kernel"]: call["code_id"] for call in artifact.report()["kernels"]}


class _Clocked:
    """A build with clocks between its kernels."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        self._artifact, self._threads = artifact, threads
        with open_runner(artifact, threads) as runner:
            arrays = drawn_inputs(runner.inputs)
            self._inputs = [arrays[spec.name] for spec in runner.inputs]
            self._outputs = [np.empty(spec.shape, spec.array_dtype) for spec in runner.outputs]
        self._harness = ProfileHarness(artifact)

    def kernels(self) -> _Times:
        """Open the build and run it some times."""
        readings = self._harness.measure(
            self._inputs, self._outputs, threads=self._threads, runs=_PROFILED_RUNS
        )
        times = np.median(readings.calls, axis=0)
        found: dict[str, tuple[int, float]] = {}
        for call, time in zip(self._artifact.report()["kernels"], times.tolist(), strict=True):
            calls, total = found.get(call["kernel"], (0, 0.0))
            found[call["kernel"]] = (calls + 1, total + time)
        return found
