"""SVE targets: how much of the vector work is done in z registers, and instructions per MAC.

    python benchmarks/vector_registers.py MODEL... [--target neoverse-v1] [--json]

Each model is compiled exactly (no Winograd), checked against onnxruntime in the target's emulator
and counted there: two inferences less one, one thread of the session. What counts as a vector
instruction stands in `compiler/runners/vector_counter.py`. Multiply-accumulates are those of the
ONNX file, before the compiler removes or adds any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from compiler.commands.output import json_option, print_json, print_table, progress_reporter
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import NotRunnableError
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.runners.emulator import EmulatorRunner
from compiler.target_spec import load_target

_FIGURES = ("M instructions", "for each MAC", "M with z", "M Advanced SIMD", "share of z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model, one inference."""

    model: str
    target: str
    machine: str
    instruction_count: int
    scalable_count: int
    fixed_count: int
    scalable_share: float
    multiply_accumulates: int
    instructions_for_each_mac: float


def measure(path: Path, target: str) -> Row:
    """Compile, check and count one model.

    Raises:
        NotRunnableError: the target has no emulator of AArch64 that takes plugins.
    """
    spec = load_target(target)
    model = load_model(path)
    if spec.runner.kind != "emulator" or not spec.llvm.triple.startswith("aarch64"):
        raise NotRunnableError(
            f"vector instructions are not counted for {target}",
            why="the words of instructions are told apart for AArch64, in an emulator",
            fix="choose a target such as neoverse-v1",
        )
    with TemporaryDirectory() as folder:
        output = Path(folder) / "made"
        made = compile_model(path, target=spec, output=output, exact=True, verify="require")
        with EmulatorRunner(made, threads=1) as runner:
            counts = runner.count_vectors(drawn_inputs(runner.inputs))
            machine = runner.machine.cpu
    if counts is None:
        raise NotRunnableError(
            f"instructions are not counted by {spec.runner.command[0]}",
            why="it was built without plugins",
            fix="install a QEMU that takes -plugin, such as Debian's",
        )
    macs = model.inventory.mac_count
    return Row(
        model=path.stem,
        target=target,
        machine=machine,
        instruction_count=counts.instructions,
        scalable_count=counts.scalable,
        fixed_count=counts.fixed,
        scalable_share=counts.scalable_share,
        multiply_accumulates=macs,
        instructions_for_each_mac=counts.instructions / max(1, macs),
    )


def print_rows(rows: Sequence[Row]) -> None:
    """Print the figures as a table."""
    table = [
        (
            row.model,
            f"{row.instruction_count / 1e6:.3f}",
            f"{row.instructions_for_each_mac:.4f}",
            f"{row.scalable_count / 1e6:.3f}",
            f"{row.fixed_count / 1e6:.3f}",
            f"{row.scalable_share:.2%}",
        )
        for row in rows
    ]
    print_table(("model", *_FIGURES), table, right=_FIGURES)
    click.echo(f"{rows[0].target}: {rows[0].machine}")


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--target", default="neoverse-v1", show_default=True, help="A target of AArch64.")
@json_option
def main(models: tuple[Path, ...], target: str, as_json: bool) -> None:
    """Count vector instructions of MODEL... in the target's emulator."""
    rows = []
    with progress_reporter() as report:
        for model in models:
            report(f"{model.stem} on {target}")
            rows.append(measure(model, target))
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        print_rows(rows)


if __name__ == "__main__":
    main()
