"""Microcontrollers: each model on each board, checked and counted in its emulator.

    python benchmarks/boards.py MODEL... [--target cortex-m4f --target rv32imac]

Writes ``benchmarks/results/boards.json`` and the same figures as a table, ``boards.md``.
Instructions are those of the second of two runs; firmware is code and constants, the test harness
included, without the weights; the arena stands beside the lower bound of its plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from compiler.commands.output import progress_reporter
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import LimitError
from compiler.pipeline import compile as compile_model
from compiler.runners.firmware import FirmwareRunner
from compiler.target_spec import available_targets, load_target

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model on one board; sizes in bytes."""

    model: str
    target: str
    status: str  # "passed", "failed", "not run", or why it does not fit
    firmware_bytes: int = 0
    weight_bytes: int = 0
    arena_bytes: int = 0
    lower_bound_bytes: int = 0
    stack_bytes: int = 0
    instruction_count: int = 0
    multiply_accumulates: int = 0


def measure(model: Path, target: str) -> Row:
    """Compile, check and count one model for one board."""
    with TemporaryDirectory() as folder:
        try:
            made = compile_model(model, target=target, output=Path(folder) / "made")
        except LimitError as refusal:
            return Row(model=model.stem, target=target, status=f"does not fit: {refusal.what}")
        checked = json.loads(made.verification_path.read_text(encoding="utf-8"))
        totals = made.report()["totals"]
        with FirmwareRunner(made, threads=1) as runner:
            result = runner.run([drawn_inputs(runner.inputs)], count=True)
            firmware = runner.firmware_bytes - totals["weight_bytes"]
    return Row(
        model=model.stem,
        target=target,
        status=str(checked["status"]),
        firmware_bytes=firmware,
        weight_bytes=totals["weight_bytes"],
        arena_bytes=totals["arena_bytes"],
        lower_bound_bytes=totals["lower_bound_bytes"],
        stack_bytes=result.stack_bytes or 0,
        instruction_count=result.instruction_count or 0,
        multiply_accumulates=totals["macs"],
    )


def table(rows: Sequence[Row]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| model | board | check | firmware | weights | arena | over the bound | stack "
        "| M instructions | for each MAC |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if not row.firmware_bytes:
            lines.append(f"| {row.model} | {row.target} | {row.status} |" + " - |" * 7)
            continue
        over = row.arena_bytes / max(1, row.lower_bound_bytes) - 1
        each = row.instruction_count / max(1, row.multiply_accumulates)
        lines.append(
            f"| {row.model} | {row.target} | {row.status} | {row.firmware_bytes:,} "
            f"| {row.weight_bytes:,} | {row.arena_bytes:,} | {over:.1%} | {row.stack_bytes:,} "
            f"| {row.instruction_count / 1e6:.3f} | {each:.2f} |"
        )
    return "\n".join(lines) + "\n"


def measure_all(
    models: Sequence[Path], targets: Sequence[str], report: Callable[[str], None]
) -> list[Row]:
    """Every model on every board, board by board."""
    rows = []
    for target in targets:
        for model in models:
            report(f"{model.stem} on {target}")
            rows.append(measure(model, target))
    return rows


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--target", "targets", multiple=True, help="All microcontrollers if not given.")
def main(models: tuple[Path, ...], targets: tuple[str, ...]) -> None:
    """Measure MODEL... and write the results."""
    boards = targets or tuple(
        name for name in available_targets() if name != "host" and load_target(name).family == "mcu"
    )
    with progress_reporter() as report:
        rows = measure_all(models, boards, report)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    (RESULTS / "boards.json").write_text(text, encoding="utf-8")
    (RESULTS / "boards.md").write_text(table(rows), encoding="utf-8")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
