"""Quantized models on targets: on how many inputs the outputs are the contract's, byte for byte.

    python -m benchmarks.equal_bytes MODEL... [--target cortex-a72 --target cortex-m4f]

Each model is compiled for each target and run there (here, in QEMU or in Bochs) on inputs that
exercise it, some of which saturate; `tests/integer_reference.py` says what must come out. Writes
``benchmarks/results/equal_bytes.json``, one row for each model and target, and a table,
``equal_bytes.md``. Rows of other models and targets stay, so the file can be filled part by part;
several processes fill several files (``--results``), which ``--merge FILE`` adds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import onnx

from compiler.commands.output import progress_reporter
from compiler.errors import CompilerError, LimitError, NotRunnableError
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.target_spec import available_targets, load_target
from compiler.verification.exercise import unexercised
from tests.exercised_inputs import Arrays, exercised_sets
from tests.integer_reference import IntegerReference
from tests.run_anywhere import run_anywhere

RESULTS = Path(__file__).resolve().parent / "results" / "equal_bytes.json"
TARGETS = (
    *("x86-64-v3", "x86-64-v4", "icelake-server"),
    *("cortex-a72", "neoverse-n1", "neoverse-v1", "rv64gc"),
    *("cortex-m4f", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imac"),
)
DOES_NOT_FIT = "does not fit"
NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model on one target."""

    model: str
    target: str
    inputs: int  # sets that were tried
    equal: int | None  # of them, with all outputs equal in every byte; None: it was not run
    where: str  # the processor, or the emulator's
    status: str = ""  # why it was not run


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A model, its inputs, and what must come out."""

    path: Path
    sets: list[Arrays]
    expected: list[Arrays]


def case_of(path: Path, count: int) -> Case:
    """Draw inputs and evaluate the contract on them, once for all targets."""
    model = load_model(path)
    sets = exercised_sets(model, count)
    reference = IntegerReference(onnx.load(path))
    expected = [dict(reference.run(given)) for given in sets]
    idle = unexercised(model, expected)
    if idle:
        raise click.ClickException(f"{path.name}: the inputs exercise nothing: {idle}")
    return Case(path=path, sets=sets, expected=expected)


def measure(case: Case, target: str, threads: int | None = None) -> Row:
    """Compile, run and compare one model on one target."""
    count = len(case.sets)
    row = Row(model=case.path.stem, target=target, inputs=count, equal=None, where="")
    spec = load_target(target)
    with TemporaryDirectory() as folder:
        try:
            output = Path(folder) / "made"
            made = compile_model(
                case.path, target=spec, output=output, threads=threads, verify="skip"
            )
            results, where = run_anywhere(made, spec, case.sets)
        except (LimitError, NotRunnableError, CompilerError) as refusal:
            return Row(**asdict(row) | {"status": _status(refusal)})
    equal = sum(map(_equal, results, case.expected))
    return Row(**asdict(row) | {"equal": equal, "where": where})


def _status(refusal: CompilerError) -> str:
    if isinstance(refusal, LimitError):
        return f"{DOES_NOT_FIT}: {refusal.what}"
    if isinstance(refusal, NotRunnableError):
        return f"{NOT_RUN}: {refusal.what} ({refusal.why})"
    return f"refused: {refusal.what}"


def _equal(outputs: Mapping[str, np.ndarray], expected: Arrays) -> bool:
    """Whether all outputs have type, shape and bytes of what is expected."""
    return all(
        (outputs[name].dtype, outputs[name].shape) == (array.dtype, array.shape)
        and outputs[name].tobytes() == np.ascontiguousarray(array).tobytes()
        for name, array in expected.items()
    )


def table(rows: Sequence[Row]) -> str:
    """Return the figures as Markdown, a row for each target, and where each was run."""
    models = _distinct(row.model for row in rows)
    by_place = {(row.model, row.target): row for row in rows}
    lines = [f"| target | {' | '.join(models)} | run on |", "|---|" + "---|" * (len(models) + 1)]
    for target in _distinct(row.target for row in rows):
        own = [by_place.get((model, target)) for model in models]
        where = _distinct(row.where for row in own if row is not None and row.where)
        cells = " | ".join(map(_cell, own))
        lines.append(f"| {target} | {cells} | {', '.join(where) or NOT_RUN} |")
    return "\n".join(lines) + "\n"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.equal is None:
        return DOES_NOT_FIT if row.status.startswith(DOES_NOT_FIT) else row.status
    return f"{row.equal} of {row.inputs}"


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """`old` with `new` in the place of the same models and targets, in a fixed order."""
    order = {name: place for place, name in enumerate(_distinct((*TARGETS, *available_targets())))}
    found = {(row.target, row.model): row for row in (*old, *new)}
    return sorted(found.values(), key=lambda row: (order.get(row.target, len(order)), row.model))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a results file, none if there is no file yet."""
    if not path.exists():
        return []
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the results and the table made of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".md").write_text(table(rows), encoding="utf-8")


def measure_all(
    models: Sequence[Path],
    targets: Sequence[str],
    results: Path,
    *,
    count: int,
    again: bool,
    report: Callable[[str], None],
    threads: int | None = None,
) -> list[Row]:
    """Every model on every target; the results file is written after each, so none is lost."""
    rows = read_rows(results)
    known = set() if again else {(row.model, row.target) for row in rows if row.inputs >= count}
    for model in models:
        wanted = [target for target in targets if (model.stem, target) not in known]
        if not wanted:
            continue
        report(f"{model.stem}: reference")
        case = case_of(model, count)
        for target in wanted:
            report(f"{model.stem} on {target}")
            rows = merged(rows, [measure(case, target, threads)])
            write_rows(results, rows)
    return rows


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("models", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--target", "targets", multiple=True, help="Default: those of the README's table.")
@click.option("--inputs", "count", default=20, show_default=True, help="Sets of inputs.")
@click.option("--results", type=_FILE, default=RESULTS, help="The file to fill.")
@click.option("--threads", type=click.IntRange(1), help="Of the libraries; default: the target's.")
@click.option("--missing", is_flag=True, help="Run only what the file has not yet.")
@click.option("--merge", "others", multiple=True, type=_FILE, help="Add the rows of this file.")
def main(
    models: tuple[Path, ...],
    targets: tuple[str, ...],
    count: int,
    results: Path,
    threads: int | None,
    missing: bool,
    others: tuple[Path, ...],
) -> None:
    """Compare MODEL... on the targets with the contract and write the results."""
    rows = read_rows(results)
    for other in others:
        rows = merged(rows, read_rows(other))
        write_rows(results, rows)
    chosen = targets or TARGETS
    with progress_reporter() as report:
        rows = measure_all(
            models,
            chosen,
            results,
            count=count,
            again=not missing,
            report=report,
            threads=threads,
        )
    click.echo(table(rows))


if __name__ == "__main__":
    main()
