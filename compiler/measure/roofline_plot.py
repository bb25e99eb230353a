"""The picture of a roofline, by matplotlib, which is loaded when something is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compiler.errors import ToolchainError
from compiler.measure.peaks import Peaks
from compiler.measure.roofline import Roofline, RooflinePoint, roof_gflops

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARGIN = 2.0  # of the axes around the points, as a factor
_SIZE_INCHES = (10.0, 5.0)
_ROOF_STYLES = ("-", "--", ":", "-.")
_LABEL_WIDTH = 44
_AREAS = (25.0, 250.0)  # of points, in square points: of a call that takes no time, and the longest
_COLOURS = 10  # that matplotlib tells apart: C0 to C9


def plot_roofline(roofline: Roofline, ax: Axes | None, *, labels: int) -> Axes:
    """Draw it into `ax`, or into a new figure if there is none.

    Raises:
        ToolchainError: matplotlib is not installed.
    """
    axes = new_axes() if ax is None else ax
    shown = sorted(
        (point for point in roofline.points if point.gflops > 0), key=lambda one: -one.minimum_us
    )
    low, high = _range([point.intensity for point in shown], roofline.roofs)
    for peaks, style in zip(roofline.roofs, _ROOF_STYLES, strict=False):
        _draw_roof(axes, peaks, style, low, high)
    for number, point in enumerate(shown):
        colour = f"C{number % _COLOURS}" if number < labels else "0.75"
        label = _label(point) if number < labels else None
        area = _area(point, shown[0])
        axes.scatter(point.intensity, point.gflops, area, colour, alpha=0.8, label=label, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(xlim=(low, high), ylabel="GFLOP/s")
    axes.set_xlabel("operations for each byte of inputs, weights and outputs")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    left_out = len(roofline.points) - len(shown)
    note = f"; {left_out} without multiply-accumulates are not drawn" if left_out else ""
    axes.set_title(f"areas are times{note}", fontsize=9)
    axes.grid(visible=True, alpha=0.3)
    beside = {"bbox_to_anchor": (1.02, 1.0), "loc": "upper left", "borderaxespad": 0.0}
    axes.legend(**beside, fontsize=8, markerscale=0.6)
    return axes


def new_axes() -> Axes:
    """Return the axes of a new figure.

    Raises:
        ToolchainError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as cause:
        raise ToolchainError(
            "nothing can be drawn",
            why="matplotlib is not installed",
            fix="pip install 'tunesmith[notebooks]', or use .table()",
        ) from cause
    return pyplot.subplots(figsize=_SIZE_INCHES, layout="constrained")[1]


def _range(intensities: list[float], roofs: tuple[Peaks, ...]) -> tuple[float, float]:
    """Intensities to draw: those of the points, and where roofs become flat."""
    ridges = [peaks.fma_gflops / peaks.memory_gbytes_per_s for peaks in roofs]
    return min(intensities + ridges) / _MARGIN, max(intensities + ridges) * _MARGIN


def _draw_roof(axes: Axes, peaks: Peaks, style: str, low: float, high: float) -> None:
    ridge = peaks.fma_gflops / peaks.memory_gbytes_per_s
    corners = np.array([low, ridge, high])
    heights = [roof_gflops(peaks, float(corner)) for corner in corners]
    name = (
        f"{peaks.threads} thread{'s' if peaks.threads > 1 else ''}: "
        f"{peaks.fma_gflops:.0f} GFLOP/s, {peaks.memory_gbytes_per_s:.0f} GB/s"
    )
    axes.plot(corners, heights, style, color="black", label=name)


def _area(point: RooflinePoint, longest: RooflinePoint) -> float:
    least, most = _AREAS
    return least + (most - least) * point.minimum_us / longest.minimum_us


def _label(point: RooflinePoint) -> str:
    label = point.label
    shown = label if len(label) <= _LABEL_WIDTH else f"{label[: _LABEL_WIDTH - 1]}…"
    return f"{shown}, {point.minimum_us:,.1f} us"
