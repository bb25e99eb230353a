"""Quantized models on this machine beside onnxruntime, with its optimisations off and on.

    python -m benchmarks.integer_accuracy MODEL... [--samples NAME=FILE.npz]...

Each kernel, fed onnxruntime's own tensors, is compared by itself. Whole models are compared by
their answers: the class with the largest number, or, where outputs have the shape of inputs
(autoencoders), the mean square of the difference, which is their score. FILE holds ``x``, samples
for the model of that name, and perhaps ``y``, labels; else inputs are drawn so that they exercise
the model. Writes ``benchmarks/results/integer_accuracy.json`` and ``.md``; rows of other models
stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from compiler.commands.output import progress_reporter
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.pipeline import compile as compile_model
from compiler.runners.open_runner import open_runner
from compiler.runners.runner import Runner
from compiler.verification.kernel_check import check_kernels
from compiler.verification.reference import Reference
from tests.exercised_inputs import Arrays, exercised_sets

RESULTS = Path(__file__).resolve().parent / "results" / "integer_accuracy.json"
DRAWN = 200  # sets of inputs for whole models
KERNEL_SETS = 3  # for kernels one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model; shares of 1. `optimized` is onnxruntime's own optimised session."""

    model: str
    samples: int
    drawn: bool
    kernels: int  # kernel calls that quantize, each on some sets of inputs
    kernel_quanta: float  # the largest difference
    kernel_equal_share: float  # of the results of the kernel with most differences
    kernels_passed: bool
    agreement: float | None = None  # of answers with onnxruntime's, optimisations off
    optimized_agreement: float | None = None
    score_error: float | None = None  # largest relative difference
    optimized_score_error: float | None = None
    accuracy: float | None = None
    reference_accuracy: float | None = None
    optimized_accuracy: float | None = None


def measure(path: Path, samples: Path | None) -> Row:
    """Compile one model for this machine, run it and onnxruntime on the same inputs."""
    model = load_model(path)
    sets, labels = _given(model, samples)
    with TemporaryDirectory() as folder:
        made = compile_model(model, target="host", output=Path(folder) / "made", verify="skip")
        with open_runner(made) as runner:
            kernels = _kernels(runner, model)
            ours = list(runner.run(sets).outputs)
    plain, fast = (
        [session.run(given) for given in sets]
        for session in (Reference(model.source), Reference(model.source, optimized=True))
    )
    row = Row(model=path.stem, samples=len(sets), drawn=samples is None, **kernels)
    if _is_autoencoder(model):
        scores = [_scores(sets, outputs) for outputs in (ours, plain, fast)]
        errors = [float(np.max(np.abs(own / scores[1] - 1))) for own in scores]
        return Row(**asdict(row) | {"score_error": errors[0], "optimized_score_error": errors[2]})
    answers = [np.array([_answer(output) for output in outputs]) for outputs in (ours, plain, fast)]
    figures = {
        "agreement": float(np.mean(answers[0] == answers[1])),
        "optimized_agreement": float(np.mean(answers[2] == answers[1])),
    }
    if labels is not None:
        names = ("accuracy", "reference_accuracy", "optimized_accuracy")
        figures |= {n: float(np.mean(a == labels)) for n, a in zip(names, answers, strict=True)}
    return Row(**asdict(row) | figures)


def _given(model: Model, samples: Path | None) -> tuple[list[Arrays], np.ndarray | None]:
    if samples is None:
        return exercised_sets(model, DRAWN), None
    arrays = np.load(samples)
    (info,) = model.inputs
    sets = [{info.name: np.asarray(x, info.dtype).reshape(info.shape)} for x in arrays["x"]]
    return sets, arrays["y"] if "y" in arrays.files else None


def _kernels(runner: Runner, model: Model) -> dict[str, Any]:
    """What kernels make of onnxruntime's own tensors."""
    checks = [
        check
        for given in exercised_sets(model, KERNEL_SETS)
        for check in check_kernels(runner, model, given)
    ]
    found = [c for check in checks for c in check.comparisons if c.max_quanta is not None]
    return {
        "kernels": len(found),
        "kernel_quanta": max(c.max_quanta or 0.0 for c in found),
        "kernel_equal_share": min(c.equal_share for c in found),
        "kernels_passed": all(check.passed for check in checks),
    }


def _is_autoencoder(model: Model) -> bool:
    return [i.shape for i in model.inputs] == [o.shape for o in model.outputs]


def _answer(outputs: Arrays) -> int:
    return int(next(iter(outputs.values())).argmax())


def _scores(sets: Sequence[Arrays], outputs: Sequence[Arrays]) -> np.ndarray:
    """Mean squares of what the model changes."""
    pairs = zip(sets, outputs, strict=True)
    return np.array([np.mean((_only(made) - _only(given)) ** 2) for given, made in pairs])


def _only(arrays: Arrays) -> np.ndarray:
    (array,) = arrays.values()
    return array.astype(np.float64)


def table(rows: Sequence[Row]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| model | inputs | kernels alone: largest step | equal, least | answers as unoptimised "
        "| onnxruntime optimised | accuracy | onnxruntime: unoptimised | optimised |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.score_error is None:
            same = [_share(row.agreement), _share(row.optimized_agreement)]
        else:
            errors = (row.score_error, row.optimized_score_error or 0.0)
            same = [f"score within {error:.2%}" for error in errors]
        right = map(_share, (row.accuracy, row.reference_accuracy, row.optimized_accuracy))
        inputs = f"{row.samples} {'drawn' if row.drawn else 'samples'}"
        cells = (
            *(row.model, inputs, f"{row.kernel_quanta:g}", f"{row.kernel_equal_share:.2%}"),
            *(*same, *right),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _share(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1%}"


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a results file, none if there is no file yet."""
    if not path.exists():
        return []
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def measure_all(
    models: Sequence[Path], samples: dict[str, Path], results: Path, report: Callable[[str], None]
) -> list[Row]:
    """Each model; the results file is written after each."""
    rows = {row.model: row for row in read_rows(results)}
    for model in models:
        report(model.stem)
        rows[model.stem] = measure(model, samples.get(model.stem))
        ordered = [rows[name] for name in sorted(rows)]
        results.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in ordered], indent=1) + "\n"
        results.write_text(text, encoding="utf-8")
        results.with_suffix(".md").write_text(table(ordered), encoding="utf-8")
    return [rows[name] for name in sorted(rows)]


def _samples(words: Sequence[str]) -> dict[str, Path]:
    found = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not Path(path).is_file():
            raise click.BadParameter(f"write MODEL=FILE.npz: {word}")
        found[name] = Path(path)
    return found


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--samples", "words", multiple=True, metavar="MODEL=FILE", help="Real samples.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS)
def main(models: tuple[Path, ...], words: tuple[str, ...], results: Path) -> None:
    """Compare MODEL... with onnxruntime and write the results."""
    with progress_reporter() as report:
        rows = measure_all(models, _samples(words), results, report)
    click.echo(table(rows))


if __name__ == "__main__":
    main()
