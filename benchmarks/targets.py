"""Models on targets: each compiled, checked where this machine or an emulator can, and counted.

    python benchmarks/targets.py MODEL... [--target cortex-a72 --target cortex-m4f]

Writes ``benchmarks/results/targets.json``, one row for each model and target, and the same figures
as tables, ``targets.md``. Rows of other models and targets stay in the file, so that it can be
filled part by part. Libraries are compiled with ``--exact``, as the count of multiply-accumulates
wants it; instructions are those of one more inference in the emulator (two runs less one run).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from compiler.artifact.manifest import Artifact
from compiler.commands.output import progress_reporter
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import CompilerError, LimitError
from compiler.pipeline import compile as compile_model
from compiler.runners.firmware import FirmwareRunner
from compiler.runners.open_runner import open_runner
from compiler.target_spec import available_targets, load_target

RESULTS = Path(__file__).resolve().parent / "results"
FAMILIES = {
    "cpu": "Linux",
    "mcu": "Microcontrollers",
    "gpu": "GPUs",
}
DOES_NOT_FIT = "does not fit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model on one target; sizes in bytes. What was not measured is None."""

    model: str
    target: str
    family: str
    status: str  # "passed", "failed", "not run", or why it was refused
    where: str  # the processor, or the emulator's, that the check ran on
    library_bytes: int | None = None  # a board's: firmware without weights, test harness included
    code_bytes: int | None = None  # of the kernels
    weight_bytes: int | None = None
    arena_bytes: int | None = None
    lower_bound_bytes: int | None = None
    stack_bytes: int | None = None
    instruction_count: int | None = None
    multiply_accumulates: int | None = None

    @property
    def instructions_for_each_mac(self) -> float | None:
        if not self.instruction_count or not self.multiply_accumulates:
            return None
        return self.instruction_count / self.multiply_accumulates


def measure(model: Path, target: str) -> Row:
    """Compile, check and count one model for one target."""
    family = load_target(target).family
    with TemporaryDirectory() as folder:
        try:
            made = compile_model(model, target=target, output=Path(folder) / "made", exact=True)
        except LimitError as refusal:
            what = f"{DOES_NOT_FIT}: {refusal.what}"
            return Row(model=model.stem, target=target, family=family, status=what, where="")
        except CompilerError as refusal:
            what = f"refused: {refusal.what}"
            return Row(model=model.stem, target=target, family=family, status=what, where="")
        checked = json.loads(made.verification_path.read_text(encoding="utf-8"))
        totals = made.report()["totals"]
        ran = checked["status"] != "not run"
        return Row(
            model=model.stem,
            target=target,
            family=family,
            status=checked["status"],
            where=checked["machine"]["cpu"] if ran else "",
            code_bytes=totals["code_bytes"],
            weight_bytes=totals["weight_bytes"],
            arena_bytes=totals["arena_bytes"],
            lower_bound_bytes=totals["lower_bound_bytes"],
            multiply_accumulates=totals["macs"],
            **(_measured_running(made, totals) if ran else _measured_lying(made)),
        )


def _measured_lying(made: Artifact) -> dict[str, int | None]:
    return {"library_bytes": made.library_path.stat().st_size}


def _measured_running(made: Artifact, totals: Mapping[str, Any]) -> dict[str, int | None]:
    with open_runner(made, threads=1) as runner:
        result = runner.run([drawn_inputs(runner.inputs)], count=True)
        size = made.library_path.stat().st_size
        if isinstance(runner, FirmwareRunner):
            size = runner.firmware_bytes - totals["weight_bytes"]
    return {
        "library_bytes": size,
        "instruction_count": result.instruction_count,
        "stack_bytes": result.stack_bytes,
    }


def table(rows: Sequence[Row]) -> str:
    """Return all figures as Markdown, a table for each family of targets, then for each target."""
    parts = []
    for family, title in FAMILIES.items():
        own = [row for row in rows if row.family == family]
        if own:
            parts.append(f"## {title}\n\n{_overview(own)}\n\n{_details(own)}\n")
    return "\n".join(parts)


def _overview(rows: Sequence[Row]) -> str:
    """One row for each model, one column for each target."""
    targets = _distinct(row.target for row in rows)
    by_place = {(row.model, row.target): row for row in rows}
    lines = ["| model | " + " | ".join(targets) + " |", "|---|" + "---|" * len(targets)]
    for model in _distinct(row.model for row in rows):
        cells = [_cell(by_place.get((model, target))) for target in targets]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    """Check, size, arena, instructions for each multiply-accumulate; why not, if not."""
    if row is None:
        return "-"
    if row.library_bytes is None:
        return DOES_NOT_FIT if row.status.startswith(DOES_NOT_FIT) else row.status
    sizes = f"{row.library_bytes / 1e3:,.0f} kB, {(row.arena_bytes or 0) / 1e3:,.0f} kB"
    each = row.instructions_for_each_mac
    counted = "" if each is None else f", {each:.3g}"
    return sizes + counted if row.status == "passed" else f"{row.status}: {sizes}{counted}"


def _details(rows: Sequence[Row]) -> str:
    lines = [
        "| model | target | check | on | library | kernels' code | weights | arena "
        "| over the bound | stack | M instructions | for each MAC |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_detail(row) for row in rows)])


def _detail(row: Row) -> str:
    over = None
    if row.arena_bytes is not None and row.lower_bound_bytes:
        over = row.arena_bytes / row.lower_bound_bytes - 1
    counted = None if row.instruction_count is None else row.instruction_count / 1e6
    figures = (row.library_bytes, row.code_bytes, row.weight_bytes, row.arena_bytes)
    cells = [
        *(_text(figure, ",") for figure in figures),
        _text(over, ".1%"),
        _text(row.stack_bytes, ","),
        _text(counted, ",.3f"),
        _text(row.instructions_for_each_mac, ".3f"),
    ]
    return f"| {row.model} | {row.target} | {row.status} | {row.where} | {' | '.join(cells)} |"


def _text(figure: float | None, form: str) -> str:
    return "-" if figure is None else format(figure, form)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def merged(old: Sequence[Row], new: Row) -> list[Row]:
    """`old` with `new` in the place of the same model and target, in a fixed order."""
    order = {name: position for position, name in enumerate(available_targets())}
    kept = [row for row in old if (row.model, row.target) != (new.model, new.target)]
    return sorted([*kept, new], key=lambda row: (order.get(row.target, len(order)), row.model))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a results file, none if there is no file yet."""
    if not path.exists():
        return []
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the results and the tables made of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".md").write_text(table(rows), encoding="utf-8")


def measure_all(
    models: Sequence[Path],
    targets: Sequence[str],
    results: Path,
    *,
    again: bool,
    report: Callable[[str], None],
) -> list[Row]:
    """Every model on every target; the results file is written after each, so none is lost."""
    rows = read_rows(results)
    for target in targets:
        for model in models:
            if not again and any((row.model, row.target) == (model.stem, target) for row in rows):
                continue
            report(f"{model.stem} on {target}")
            rows = merged(rows, measure(model, target))
            write_rows(results, rows)
    return rows


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--target", "targets", multiple=True, help="All shipped targets if not given.")
@click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    default=RESULTS / "targets.json",
    help="The file to fill.",
)
@click.option("--missing", is_flag=True, help="Measure only what the file has not yet.")
def main(models: tuple[Path, ...], targets: tuple[str, ...], results: Path, missing: bool) -> None:
    """Measure MODEL... and write the results."""
    chosen = targets or tuple(name for name in available_targets() if name != "host")
    with progress_reporter() as report:
        rows = measure_all(models, chosen, results, again=not missing, report=report)
    click.echo(table(rows))


if __name__ == "__main__":
    main()
