"""``tunesmith quantize``: an ONNX file whose layers compute in 8-bit integers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.commands.model_options import shape_option, value_option
from compiler.commands.output import (
    json_option,
    print_facts,
    print_json,
    print_table,
    progress_reporter,
)

if TYPE_CHECKING:
    from compiler.quantization.judge import Score
    from compiler.quantization.report import LayerReport, QuantizationReport
    from compiler.target_gains import Need, TargetGain

_PATH = click.Path(path_type=Path)
_NAME_WIDTH = 40  # exporters make names of several hundred characters


def parse_share(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """Return a share of 1: ``0.5%`` -> 0.005.

    Raises:
        click.BadParameter: not of that form, or not from 0 to 100 %.
    """
    number, sign, rest = text.strip().partition("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = -1.0
    if not sign or rest or not 0 <= share <= 1:
        raise click.BadParameter(f"'{text}': write 0.5%, a number from 0% to 100%")
    return share


@click.command("quantize")
@click.argument("model", type=_PATH)
@click.option("--calibration", metavar="DATA", required=True, help="Samples: see above.")
@click.option("-o", "--output", type=_PATH, required=True, help="The ONNX file to write.")
@click.option(
    "--validation", metavar="DATA", help="Samples to judge by; else every other one of DATA."
)
@click.option("--labels", type=_PATH, help="Labels of the samples to judge by (.npy).")
@click.option(
    "--answer", metavar="FUNCTION", help="Makes a label of the outputs; else the largest class."
)
@click.option(
    "--max-drop",
    default="0.5%",
    show_default=True,
    callback=parse_share,
    help="What may be lost on labels, else of the agreement with the float model.",
)
@click.option(
    "--min-int8",
    default="0%",
    show_default=True,
    callback=parse_share,
    help="Share of the multiply-accumulates that must be in integers.",
)
@click.option(
    "--ranges",
    type=click.Choice(["best", "minmax", "percentile", "entropy"]),
    default="best",
    show_default=True,
    help="How onnxruntime finds ranges; best: whichever gives the smallest error.",
)
@click.option("--report", "report_file", type=_PATH, help="Write the --json document here, too.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Compare instructions and library bytes there; may be repeated.",
)
@shape_option
@value_option
@json_option
def command(
    model: Path,
    calibration: str,
    output: Path,
    validation: str | None,
    labels: Path | None,
    answer: str | None,
    max_drop: float,
    min_int8: float,
    ranges: str,
    report_file: Path | None,
    targets: tuple[str, ...],
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    as_json: bool,
) -> None:
    """Write MODEL with int8 weights and values, in QDQ form, for any target.

    DATA is an .npz of arrays by input name, a folder of such files (or of .npy files for a model
    of one input), or a Python function, as module:function or file.py:function, that yields
    dictionaries of arrays. Samples lie along axis 0. An array called labels beside the inputs
    holds labels.

    Weights are rounded channel by channel. Channels are equalised, ranges chosen and biases
    corrected where that makes the error smaller; then the layers that cost most stay in float
    until no more than --max-drop is lost.
    """
    from compiler.quantization.quantize import quantize
    from compiler.target_gains import target_gains
    from compiler.target_spec import load_target

    for name in targets:
        load_target(name)  # an unknown one is refused before the work
    with progress_reporter() as report:
        result = quantize(
            model,
            calibration=calibration,
            output=output,
            labels=labels,
            validation=validation,
            answer=answer,
            method=None if ranges == "best" else ranges,
            max_drop=max_drop,
            min_int8=min_int8,
            shapes=shapes,
            values=values,
            report=report,
        )
        gains = target_gains(model, output, targets, shapes=shapes, values=values, report=report)
    document = result.as_json() | {"targets": [gain.as_json() for gain in gains]}
    if report_file:
        report_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(document)
        return
    _print_layers(result)
    click.echo()
    _print_summary(result)
    if gains:
        click.echo()
        _print_gains(gains)


def _print_gains(gains: Sequence[TargetGain]) -> None:
    """Print one row for each target, estimates with their errors."""
    columns = ("target", "instructions: float", "int8", "ratio", "library: float", "int8", "ratio")
    rows = [
        (
            gain.target,
            *(_estimated(need) for need in (gain.float_instructions, gain.instructions)),
            "" if gain.instruction_ratio is None else f"{gain.instruction_ratio:.2f}",
            *(_estimated(need) for need in (gain.float_library_bytes, gain.library_bytes)),
            f"{gain.library_ratio:.2f}",
        )
        for gain in gains
    ]
    print_table(columns, rows, right=columns[1:])


def _estimated(need: Need | None) -> str:
    """Without a number: a target without an emulator, where only time counts (`bench`)."""
    if need is None:
        return "not estimated"
    return f"{need.need:,}" + (f" +- {need.error:,}" if need.error else "")


def _print_layers(result: QuantizationReport) -> None:
    columns = ("layer", "operator", "MACs", "in", "SQNR dB", "alone dB", "why float")
    print_table(
        columns, [_row(layer) for layer in result.layers], right=columns[2:3] + columns[4:6]
    )


def _row(layer: LayerReport) -> tuple[str, ...]:
    return (
        _short(layer.name),
        layer.op_type,
        f"{layer.macs:,}" if layer.macs else "",
        "int8" if layer.integer else "float",
        f"{layer.sqnr_db:.1f}",
        "" if layer.alone_sqnr_db is None else f"{layer.alone_sqnr_db:.1f}",
        layer.reason or "",
    )


def _print_summary(result: QuantizationReport) -> None:
    float_score, score, all_integer = (
        _percent(s) for s in (result.float_score, result.score, result.all_integer_score)
    )
    kept = sum(not layer.integer for layer in result.layers)
    ratio = result.quantized_bytes / result.float_bytes
    facts = [
        ("judged by", f"{result.judged_by}, {result.judged_samples} samples"),
        ("float", float_score),
        ("int8", f"{score}, as the float model {result.score.agreement:.2%}"),
        ("in float", f"{kept} of {len(result.layers)} layers; with none: {all_integer}"),
        ("MACs in int8", f"{result.integer_share:.1%} of {result.macs:,}"),
        ("size", f"{result.float_bytes:,} -> {result.quantized_bytes:,} bytes ({ratio:.0%})"),
        ("ranges", f"{result.ranges}, from {result.calibration_samples} samples"),
        ("equalised", f"{result.equalized_groups} groups of values"),
        ("biases", "corrected" if result.corrected_biases else "not corrected: no smaller error"),
    ]
    print_facts(facts)


def _percent(score: Score) -> str:
    return f"{score.counted:.2%}"


def _short(name: str) -> str:
    """Keep both ends of a long name: they are what differs."""
    if len(name) <= _NAME_WIDTH:
        return name
    half = (_NAME_WIDTH - 3) // 2
    return f"{name[:half]}...{name[-half:]}"
