"""Points under roofs: arithmetic, table, and what is drawn."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

import compiler
from compiler.artifact.manifest import Artifact
from compiler.errors import ToolchainError
from compiler.measure.peaks import Peaks
from compiler.measure.roofline import Roofline, RooflinePoint
from compiler.tuner.trial import KernelData, Measured
from tests import onnx_models
from tests.scripted_runner import ScriptedRunner

mpl.use("agg")

ONE = Peaks(fma_gflops=100.0, memory_gbytes_per_s=20.0, threads=1, vector_bits=256)
TWO = Peaks(fma_gflops=200.0, memory_gbytes_per_s=30.0, threads=2, vector_bits=256)


def found() -> Roofline:
    points = (
        RooflinePoint(label="products", macs=500_000, size_bytes=10_000, minimum_us=20.0),
        RooflinePoint(label="few", macs=5_000, size_bytes=10_000, minimum_us=1.0),
        RooflinePoint(label="copies", macs=0, size_bytes=10_000, minimum_us=40.0),
    )
    return Roofline(points=points, roofs=(ONE, TWO))


def test_a_multiply_add_is_two_operations() -> None:
    products = found().points[0]
    assert (products.intensity, products.gflops) == (100.0, 50.0)


def test_table() -> None:
    table = found().table().set_index("kernel")
    assert list(table.index) == ["copies", "products", "few"]
    assert list(table["roof"]) == [0.0, 100.0, 20.0]  # 1 operation a byte at 20 GB/s
    assert list(table["bound"]) == ["memory", "compute", "memory"]
    assert list(table["share"]) == pytest.approx([0.0, 0.5, 0.5])


def test_plot() -> None:
    axes = found().plot(labels=1)
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "1 thread: 100 GFLOP/s, 20 GB/s",
        "2 threads: 200 GFLOP/s, 30 GB/s",
        "products, 20.0 us",
    ]
    drawn = [tuple(one.get_offsets()[0]) for one in axes.collections]
    assert drawn == [(100.0, 50.0), (1.0, 10.0)]
    assert [line.get_ydata().max() for line in axes.lines] == [100.0, 200.0]
    assert axes.get_title() == "areas are times; 1 without multiply-accumulates are not drawn"


def test_plot_into_axes_that_are_there() -> None:
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    assert found().plot(axes) is axes


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_matplotlib(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ToolchainError) as caught:
        found().plot()
    assert str(caught.value) == (
        "nothing can be drawn\n  why: matplotlib is not installed\n"
        "  fix: pip install 'tunesmith[notebooks]', or use .table()"
    )


def test_schedules_of_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = KernelData(key="none", inputs=(), expected=())
    monkeypatch.setattr("compiler.measure.compare._operands", lambda *_: none)
    path = onnx_models.save(onnx_models.dense_model(4, 16, 8), tmp_path / "dense.onnx")
    (kernel,) = compiler.list_kernels(path, target="x86-64-v3")
    runner = ScriptedRunner(
        lambda built: Measured(
            outcome="wrong-numbers" if built.schedule.source == "fallback" else "passed",
            values=(2.0, 1.0, 3.0),
        )
    )
    points = compiler.roofline(compiler.compare(kernel, runner=runner), roofs=(ONE,)).points
    assert [(one.label, one.minimum_us) for one in points] == [("default", 1.0)]
    assert points[0].macs == 4 * 16 * 8
    assert points[0].size_bytes == 4 * (4 * 8 + 8 * 16 + 16 + 4 * 16)


def test_kernels_of_an_artifact(compiled: Callable[[str], Artifact]) -> None:
    artifact = compiled("mnist_dscnn_f32")
    measured = compiler.roofline(artifact.path)
    calls = artifact.report()["kernels"]
    assert [point.label for point in measured.points] == [call["kernel"] for call in calls]
    assert [point.macs for point in measured.points] == [call["macs"] for call in calls]
    assert measured.roofs[0].threads == 1
    assert all(one.fma_gflops > 0 for one in measured.roofs)
    assert (measured.table()["share"] >= 0).all()
