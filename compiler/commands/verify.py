"""``tunesmith verify``: compare a compiled library with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compiler.commands.board_options import board_options
from compiler.commands.model_options import shape_option, value_option
from compiler.commands.output import json_option, print_json, print_table, progress_reporter
from compiler.runners.vector_length import VECTOR_BITS

if TYPE_CHECKING:
    from compiler.board_address import BoardAddress
    from compiler.verification.comparison import Comparison
    from compiler.verification.kernel_check import KernelCheck
    from compiler.verification.result import Verification

_FIGURES = ("max abs", "max relative", "equal", "quanta")
_PATH = click.Path(path_type=Path)
_NAME_WIDTH = 40  # exporters make names of several hundred characters


@click.command("verify")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--model", required=True, type=_PATH, help="The ONNX file that was compiled.")
@click.option("--inputs", type=_PATH, help="Arrays by input name (.npz); else drawn.")
@shape_option
@value_option
@click.option("--per-kernel", is_flag=True, help="Check every kernel alone, on the same tensors.")
@board_options
@click.option(
    "--vector-bits",
    type=click.Choice([str(bits) for bits in VECTOR_BITS]),
    help="Length of scalable vectors (SVE) in the emulator; else its target's.",
)
@json_option
def command(
    folder: Path,
    model: Path,
    inputs: Path | None,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    per_kernel: bool,
    board: BoardAddress | None,
    vector_bits: str | None,
    as_json: bool,
) -> None:
    """Compare the compiled library in DIR with onnxruntime, which runs without optimisations.

    A library that does not agree is named with its figures and its first wrong kernel: exit code 1.
    """
    from compiler.onnx_import.load import load_model
    from compiler.verify import check, require_passed

    if board is not None and vector_bits is not None:
        raise click.UsageError("--vector-bits is for an emulator; a board has the vectors it has")
    with progress_reporter() as report:
        report("reading the model")
        loaded = load_model(model, shapes=shapes, values=values)
        report("comparing with onnxruntime")
        result = check(
            folder,
            loaded,
            inputs=inputs,
            per_kernel=per_kernel,
            board=board,
            vector_bits=None if vector_bits is None else int(vector_bits),
        )
    if as_json:
        print_json(result.as_json())
    else:
        print_verification(result)
    require_passed(str(folder), result)


def print_verification(result: Verification) -> None:
    """Print the figures of outputs, of kernels if they were checked, and the verdict."""
    if result.outputs:
        columns = ("output", "dtype", "shape", *_FIGURES, "allowed", "")
        print_table(columns, [_output_row(output) for output in result.outputs], right=_FIGURES)
    if result.kernels:
        click.echo()
        columns = ("call", "operator", "value", *_FIGURES, "allowed", "")
        rows = [row for kernel in result.kernels for row in _kernel_rows(kernel)]
        print_table(columns, rows, right=("call", *_FIGURES))
    click.echo(f"{result.status}: {result.reason}")


def _output_row(output: Comparison) -> tuple[str, ...]:
    shape = "x".join(map(str, output.shape)) or "scalar"
    return (_short(output.name), output.dtype, shape, *_figures(output))


def _kernel_rows(kernel: KernelCheck) -> Sequence[tuple[str, ...]]:
    head = (str(kernel.index), _short(kernel.operator))
    if not kernel.comparisons:
        return [(*head, "-", "-", "-", "-", "-", "-", kernel.problem or "no ONNX value")]
    return [(*head, _short(output.name), *_figures(output)) for output in kernel.comparisons]


def _figures(output: Comparison) -> tuple[str, ...]:
    return (
        f"{output.max_abs:.3g}",
        f"{output.max_relative:.2g}",
        f"{output.equal_share:.2%}",
        "-" if output.max_quanta is None else f"{output.max_quanta:.3g}",
        str(output.tolerance),
        "ok" if output.passed else "DIFFERS",
    )


def _short(name: str) -> str:
    """Keep both ends of a long name: they are what differs."""
    if len(name) <= _NAME_WIDTH:
        return name
    half = (_NAME_WIDTH - 3) // 2
    return f"{name[:half]}...{name[-half:]}"
