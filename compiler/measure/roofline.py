"""Kernels beside the machine's roofs: what of its arithmetic and its memory each of them uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.artifact.manifest import Artifact, read_artifact
from compiler.errors import InputError
from compiler.host_target import host_target
from compiler.measure.comparison import Comparison
from compiler.measure.peaks import Peaks, measure_peaks, measure_peaks_of_code
from compiler.measure.profile import profile
from compiler.measure.profile_result import ProfileResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, slots=True)
class RooflinePoint:
    """One kernel, or one schedule of a kernel, as it ran."""

    label: str
    macs: int  # of direct convolution, whatever the kernel does instead
    size_bytes: int  # of inputs, weights and outputs, each once
    minimum_us: float

    @property
    def intensity(self) -> float:
        """Operations for each byte; a multiply-add is two."""
        return 2 * self.macs / self.size_bytes if self.size_bytes else 0.0

    @property
    def gflops(self) -> float:
        return 2e-3 * self.macs / self.minimum_us if self.minimum_us else 0.0


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Roofline:
    """Points under roofs. The first roof is that of the threads which the points ran with.

    Roofs are measured: multiply-adds of float32 in registers, and bytes of memory beyond all
    caches. So a kernel whose tensors stay in a cache may stand above the slope, and one that
    computes less than direct convolution (Winograd), or in integers, above the flat part.
    """

    points: tuple[RooflinePoint, ...]
    roofs: tuple[Peaks, ...]

    def attainable_gflops(self, point: RooflinePoint) -> float:
        """The height of the first roof over a point."""
        return roof_gflops(self.roofs[0], point.intensity)

    def table(self) -> pd.DataFrame:
        """Return one row for each point, longest first.

        `intensity` is in operations for each byte, `roof` the height of the roof there in GFLOP/s,
        `share` what of it was reached, `bound` the part of the roof that is over the point.
        """
        import pandas as pd

        return pd.DataFrame(
            [self._row(point) for point in sorted(self.points, key=lambda one: -one.minimum_us)]
        )

    def _row(self, point: RooflinePoint) -> dict[str, Any]:
        roof = self.attainable_gflops(point)
        flat = self.roofs[0].fma_gflops
        return {
            "kernel": point.label,
            "minimum_us": point.minimum_us,
            "macs": point.macs,
            "bytes": point.size_bytes,
            "intensity": point.intensity,
            "gflops": point.gflops,
            "roof": roof,
            "share": point.gflops / roof if roof else 0.0,
            "bound": "compute" if roof == flat else "memory",
        }

    def plot(self, ax: Axes | None = None, *, labels: int = 8) -> Axes:
        """Draw points and roofs on logarithmic axes and return matplotlib's `Axes`.

        Args:
            ax: where to draw; a new figure if None.
            labels: how many points get their names: those that take longest.

        Raises:
            ToolchainError: matplotlib is not installed.
        """
        from compiler.measure.roofline_plot import plot_roofline

        return plot_roofline(self, ax, labels=labels)

    def __repr__(self) -> str:
        return self.table().round(2).to_string(index=False)

    def _repr_html_(self) -> str:
        html: str = self.table().round(2).to_html(index=False)
        return html


def roof_gflops(peaks: Peaks, intensity: float) -> float:
    """Return the most operations in a second at so many operations for each byte, in 1e9."""
    return min(peaks.fma_gflops, peaks.memory_gbytes_per_s * intensity)


def roofline(
    measured: Comparison | ProfileResult | Artifact | str | Path,
    *,
    threads: int = 1,
    roofs: Sequence[Peaks] | None = None,
) -> Roofline:
    """Set kernels beside what this machine can do at most, which is measured if it is not given.

    Args:
        measured: a comparison of schedules, each a point; a profile, or an artifact to profile,
            each of whose kernel calls is a point.
        threads: of an artifact's run; a comparison and a profile know theirs.
        roofs: `Peaks` to use instead of measuring; first those of the threads of the points.
            Measured are those, and those of all cores. Takes some seconds.

    Raises:
        InputError: a comparison counted instructions, which say nothing of a machine's time.
        CompilerError: an artifact cannot be profiled, or the machine's peaks cannot be measured.
    """
    if isinstance(measured, Comparison):
        return _of_comparison(measured, roofs)
    if isinstance(measured, ProfileResult):
        return _of_profile(measured, roofs or (measured.peaks,))
    artifact = measured if isinstance(measured, Artifact) else read_artifact(Path(measured))
    found = profile(artifact.path, threads=threads)
    features = artifact.manifest.cpu_features
    others = (measure_peaks_of_code(features, threads=count) for count in _more_threads(threads))
    return _of_profile(found, roofs or (found.peaks, *others))


def _of_profile(result: ProfileResult, roofs: Sequence[Peaks]) -> Roofline:
    points = (
        RooflinePoint(
            label=call.kernel,
            macs=call.rates.macs,
            size_bytes=call.rates.bytes,
            minimum_us=call.rates.minimum_us,
        )
        for call in result.calls
    )
    return Roofline(points=tuple(points), roofs=tuple(roofs))


def _of_comparison(comparison: Comparison, roofs: Sequence[Peaks] | None) -> Roofline:
    spec, task = comparison.kernel.spec, comparison.kernel.task
    if comparison.unit != "us":
        raise InputError(
            f"{task.kernel} has no place under a roof",
            why=f"its {comparison.unit} were counted for {spec.name}, and a roof is a rate",
            fix="compare on a target that this machine runs, such as `host`",
        )
    points = (
        RooflinePoint(
            label=result.name,
            macs=task.macs,
            size_bytes=comparison.kernel.size_bytes,
            minimum_us=result.minimum,
        )
        for result in comparison.ranking
    )
    threads = spec.cores.count
    measured = (measure_peaks(spec, count) for count in (threads, *_more_threads(threads)))
    return Roofline(points=tuple(points), roofs=tuple(roofs or measured))


def _more_threads(threads: int) -> tuple[int, ...]:
    """As many as this machine has cores, if those are more."""
    cores = host_target().cores.count
    return (cores,) if cores > threads else ()
