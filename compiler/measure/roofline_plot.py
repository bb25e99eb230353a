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
_SIZE_INCHES = (9.0, 5.5)
_ROOF_STYLES = ("-", "--", ":", "-.")
_LABEL_WIDTH = 32


def plot_roofline(roofline: Roofline, ax: Axes | None, *, labels: int) -> Axes:
    """Draw it into `ax`, or into a new figure if there is none.

    Raises:
        ToolchainError: matplotlib is not installed.
    """
    axes = new_axes() if ax is None else ax
    shown = [point for point in roofline.points if point.gflops > 0]
    low, high = _range([point.intensity for point in shown], roofline.roofs)
    for peaks, style in zip(roofline.roofs, _ROOF_STYLES, strict=False):
        _draw_roof(axes, peaks, style, low, high)
    for number, point in enumerate(sorted(shown, key=lambda one: -one.minimum_us)):
        axes.plot(point.intensity, point.gflops, "o", color="C1", alpha=0.8)
        if number < labels:
            _write_label(axes, point)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(low, high)
    axes.set_xlabel("operations for each byte of inputs, weights and outputs")
    axes.set_ylabel("GFLOP/s")
    left_out = len(roofline.points) - len(shown)
    if left_out:
        axes.set_title(f"{left_out} calls without multiply-accumulates are not drawn", fontsize=9)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(loc="lower right")
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
    axes.plot(corners, heights, style, color="C0", label=name)


def _write_label(axes: Axes, point: RooflinePoint) -> None:
    text = point.label
    if len(text) > _LABEL_WIDTH:
        text = f"{text[:_LABEL_WIDTH]}…"
    axes.annotate(
        text,
        (point.intensity, point.gflops),
        xytext=(6, -3),
        textcoords="offset points",
        fontsize=8,
    )
