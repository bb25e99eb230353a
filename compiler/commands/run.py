"""``tunesmith run``: run a compiled library on arrays of the user or on drawn ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from compiler.commands.output import json_option, print_json, print_table

if TYPE_CHECKING:
    import numpy as np

_FIRST_COUNT = 4  # values of an output that the table shows


class _Tensor(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@click.command("run")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--inputs", type=click.Path(path_type=Path), help="Arrays by input name (.npz); else drawn."
)
@click.option("--outputs", type=click.Path(path_type=Path), help="Write the outputs here (.npz).")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@json_option
def command(
    folder: Path, inputs: Path | None, outputs: Path | None, threads: int, as_json: bool
) -> None:
    """Run the compiled library in DIR once and show its outputs.

    Without --inputs, arrays are drawn, the same ones every time.
    """
    from compiler.array_files import read_arrays, write_arrays
    from compiler.library import load

    arrays = read_arrays(inputs) if inputs else None
    library = load(folder, threads=threads)
    results = library.run(arrays if arrays is not None else drawn_inputs(library.inputs))
    if outputs:
        write_arrays(outputs, results)
    summary = [_summary(name, array) for name, array in results.items()]
    if as_json:
        print_json({"inputs": str(inputs) if inputs else "drawn", "outputs": summary})
        return
    if not inputs:
        click.echo("no --inputs: ran on drawn inputs", err=True)
    columns = ("output", "dtype", "shape", "min", "max", "mean", "first values")
    print_table(columns, [_row(facts) for facts in summary], right=columns[3:6])


def drawn_inputs(inputs: Iterable[_Tensor]) -> dict[str, np.ndarray]:
    """Return arrays for `inputs`, the same for the same names, dtypes and shapes.

    Floats are standard normal, 8-bit integers cover their range, wider ones, which are mostly
    indices, are 0 to 9.
    """
    import numpy as np

    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for tensor in inputs:
        if tensor.dtype == "bfloat16":  # the upper half of a float32; NumPy holds it as bits
            bits = random.standard_normal(tensor.shape).astype("float32").view("uint32")
            arrays[tensor.name] = (bits >> 16).astype("uint16")
            continue
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            arrays[tensor.name] = random.standard_normal(tensor.shape).astype(dtype)
        elif dtype.kind == "b":
            arrays[tensor.name] = random.integers(0, 2, tensor.shape).astype(dtype)
        elif dtype.itemsize == 1:
            limits = np.iinfo(dtype)
            arrays[tensor.name] = random.integers(
                limits.min, limits.max, tensor.shape, dtype=dtype, endpoint=True
            )
        else:
            arrays[tensor.name] = random.integers(0, 10, tensor.shape).astype(dtype)
    return arrays


def _summary(name: str, array: np.ndarray) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size:
        wide = array.astype("float64")
        statistics = {"min": wide.min(), "max": wide.max(), "mean": wide.mean()}
        facts |= {key: _number(float(value)) for key, value in statistics.items()}
    facts["first"] = [_number(value) for value in array.ravel()[:_FIRST_COUNT].tolist()]
    return facts


def _number(value: float) -> float | None:
    """JSON has no word for NaN and infinity: they are null."""
    return value if math.isfinite(value) else None


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    statistics = (_text(facts[key]) if key in facts else "-" for key in ("min", "max", "mean"))
    first = " ".join(_text(value) for value in facts["first"])
    shape = "x".join(map(str, facts["shape"])) or "scalar"
    count = math.prod(facts["shape"])
    return (
        *(facts["name"], facts["dtype"], shape, *statistics),
        first + (" ..." if count > _FIRST_COUNT else ""),
    )


def _text(value: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
