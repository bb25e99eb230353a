"""From a float ONNX file and samples to an int8 ONNX file and a report of what it cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compiler.errors import InputError
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.quantization.graph import index_graph
from compiler.quantization.judge import CLOSENESS, Answer, Judge
from compiler.quantization.ranges import METHODS, QuantizationError
from compiler.quantization.recipe import Probe, Recipe, choose_recipe
from compiler.quantization.report import (
    LayerReport,
    QuantizationReport,
    file_bytes,
    layer_reports,
)
from compiler.quantization.samples import Samples, Source, load_function, read_samples
from compiler.quantization.search import Choice, Limits, choose_units
from compiler.quantization.units import find_units

if TYPE_CHECKING:
    import onnx

# DequantizeLinear takes a scale for each channel from this version on.
OLDEST_OPSET = 13
# More change the ranges little, and histograms of them take long.
CALIBRATION_SAMPLES = 128
# Each layer's error is measured on as many.
PROBE_SAMPLES = 16
QUANTIZERS = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})

Labels = str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True, slots=True)
class _Data:
    """Samples to calibrate with, and samples to judge by."""

    calibration: Samples
    judged: Samples


def quantize(
    model: str | os.PathLike[str],
    *,
    calibration: Source,
    output: str | os.PathLike[str],
    labels: Labels | None = None,
    validation: Source | None = None,
    answer: Answer | str | None = None,
    method: str | None = None,
    max_drop: float = 0.005,
    min_int8: float = 0.0,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, float | int | bool] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> QuantizationReport:
    """Write `model` with int8 weights and values to `output`, and return what it cost.

    Args:
        calibration: samples (`samples.read_samples`). Where `validation` is not given, every
            other one is set aside to judge by.
        labels: of the validation samples, else of the calibration samples.
        answer: makes of the outputs (arrays by name) what is compared with a label, else with the
            float model's: a class, a text. A function or its name. By default the class with the
            largest number, where the only output is [batch, classes].
        method: how ranges are found: one of `ranges.METHODS`, None for the best of them.
        max_drop: how much of the accuracy on labels, else of the agreement with the float model,
            may be lost: a share of 1. Layers stay in float until it holds.
        min_int8: share of the multiply-accumulates that shall compute in integers nevertheless.

    Raises:
        QuantizationError: the limits cannot be held, or there is nothing to quantize.
        InputError: the samples, labels or functions are of no use.
        ModelError: the model cannot be read or run.
    """
    _check_options(model, output, method)
    loaded = load_model(model, shapes=shapes, values=values, oldest_opset=OLDEST_OPSET)
    _check_model(loaded)
    data = _read_data(loaded, calibration, validation, labels)
    judge = Judge(loaded, data.judged, load_function(answer) if isinstance(answer, str) else answer)
    probed = data.judged.chosen(_spread(judge.count, PROBE_SAMPLES)).inputs
    probe = Probe(loaded.proto, probed)
    recipe = choose_recipe(loaded.proto, data.calibration.inputs, probe, method, report)
    limits = Limits(max_drop=max_drop, min_int8=min_int8)
    choice = choose_units(recipe, probe, judge, limits, loaded.inventory.mac_count, report)
    quantized = recipe.model(choice.units)
    report("writing")
    _finish(quantized, loaded.source)
    _write(quantized, Path(output))
    layers = layer_reports(recipe, choice, quantized, probed)
    return _report(Path(model), Path(output), loaded, data, judge, recipe, choice, layers)


def _check_options(
    model: str | os.PathLike[str], output: str | os.PathLike[str], method: str | None
) -> None:
    if method is not None and method not in METHODS:
        raise InputError(
            f"no method {method!r} to find ranges",
            why="onnxruntime knows others",
            fix=f"use one of: {', '.join(METHODS)}",
        )
    if Path(output).exists() and Path(output).resolve() == Path(model).resolve():
        raise InputError(
            f"{output}: is the model itself",
            why="the float model would be lost",
            fix="choose another file with -o",
        )
    folder = Path(output).resolve().parent
    if not folder.is_dir() or Path(output).is_dir():
        raise InputError(
            f"{output}: cannot be written",
            why=f"{output} is a folder" if folder.is_dir() else f"there is no folder {folder}",
            fix="name a file in a folder that is there",
        )


def _check_model(model: Model) -> None:
    found = next((node for node in model.proto.graph.node if node.op_type in QUANTIZERS), None)
    if found is not None:
        raise QuantizationError(
            f"{model.name}: is quantized already",
            why=f"it holds {found.op_type} {found.name!r}",
            fix="give the float model that it was made from",
        )
    if not find_units(index_graph(model.proto)):
        raise QuantizationError(
            f"{model.name}: there is no layer to quantize",
            why="no Conv, ConvTranspose, Gemm or MatMul of float32 numbers was found",
            fix="compile the model as it is",
        )


def _read_data(
    model: Model, calibration: Source, validation: Source | None, labels: Labels | None
) -> _Data:
    if validation is not None:
        given = read_samples(calibration, model.inputs)
        judged = read_samples(validation, model.inputs, labels)
    else:
        whole = read_samples(calibration, model.inputs, labels)
        count = len(whole.inputs)
        given = whole.chosen(range(0, count, 2))
        judged = whole.chosen(range(1, count, 2)) if count > 1 else whole
    chosen = given.chosen(_spread(len(given.inputs), CALIBRATION_SAMPLES))
    return _Data(calibration=chosen, judged=judged)


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` positions, evenly spread."""
    wanted = min(count, most)
    return [position * count // wanted for position in range(wanted)]


def _finish(quantized: onnx.ModelProto, source: onnx.ModelProto) -> None:
    """Say who wrote the model, and keep the user's own notes in it, in place."""
    from compiler.version import VERSION

    quantized.producer_name, quantized.producer_version = "tunesmith", VERSION
    present = {entry.key for entry in quantized.metadata_props}
    quantized.metadata_props.extend(e for e in source.metadata_props if e.key not in present)


def _write(quantized: onnx.ModelProto, path: Path) -> None:
    """Write the file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(quantized.SerializeToString(deterministic=True))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _report(
    model: Path,
    output: Path,
    loaded: Model,
    data: _Data,
    judge: Judge,
    recipe: Recipe,
    choice: Choice,
    layers: tuple[LayerReport, ...],
) -> QuantizationReport:
    if judge.kind == CLOSENESS:
        judged_by = CLOSENESS
    else:
        judged_by = "agreement" if choice.score.accuracy is None else "labels"
    return QuantizationReport(
        output=output.name,
        calibration_samples=len(data.calibration.inputs),
        judged_samples=judge.count,
        judged_by=judged_by,
        ranges=recipe.method,
        equalized_groups=recipe.equalized_groups,
        corrected_biases=recipe.statistics is not None,
        float_score=judge.float_score,
        score=choice.score,
        all_integer_score=choice.all_score,
        float_bytes=file_bytes(model),
        quantized_bytes=output.stat().st_size,
        macs=loaded.inventory.mac_count,
        integer_macs=sum(unit.macs for unit in choice.units),
        layers=layers,
    )
