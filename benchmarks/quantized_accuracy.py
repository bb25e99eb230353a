"""What `tunesmith quantize` costs trained models, on samples that it never saw.

    python benchmarks/quantized_accuracy.py --models DIR --data DIR [--case mobilenetv2]...

Each case calibrates and searches on one set of samples, half of it set aside for the search, and
is then scored on another, once as float and once as int8. No label of the second set is used
before. Writes ``benchmarks/results/quantized_accuracy.json`` and ``.md``. The case mobilenetv2
needs pictures: ``pip install 'tunesmith[bench]'``.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import onnx

from compiler.commands.output import progress_reporter
from compiler.errors import ModelError
from compiler.quantization.judge import Answer
from compiler.quantization.network import Network
from compiler.quantization.quantize import quantize

RESULTS = Path(__file__).resolve().parent / "results"
CROPS = {"calibration": (192, 1), "test": (300, 2)}  # how many, and the seed
SMALLEST_PICTURE = 160
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with samples to quantize by and samples to score on.

    Without labels the score is the agreement with the float model.
    """

    model: Path
    calibration: Arrays
    calibration_labels: np.ndarray | None
    test: Arrays
    labels: np.ndarray | None
    answer: Answer
    max_drop: float
    min_int8: float
    method: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Scores are shares of 1 on `samples` samples; sizes in bytes."""

    case: str
    samples: int
    scored_by: str
    float_score: float
    plain_score: float | None  # all that onnxruntime quantizes, per channel, min-max ranges
    score: float
    agreement: float
    integer_share: float
    float_layers: list[str]
    float_bytes: int
    quantized_bytes: int
    ranges: str
    max_drop: float


def largest(outputs: Mapping[str, np.ndarray]) -> int:
    """Return the class with the largest number."""
    return int(next(iter(outputs.values())).argmax())


def mnist(models: Path, data: Path) -> Case:
    """Digits."""
    return _with_calibration(models / "mnist_dscnn_f32.onnx", data / "mnist_test.npz")


def kws_espeak(models: Path, data: Path) -> Case:
    """Spoken words."""
    return _with_calibration(models / "kws_espeak_dscnn_f32.onnx", data / "kws_test.npz")


def _with_calibration(model: Path, path: Path) -> Case:
    arrays = np.load(path)
    name = onnx.load(model).graph.input[0].name
    return Case(
        model=model,
        calibration={name: arrays["calib"]},
        calibration_labels=None,
        test={name: arrays["x"]},
        labels=arrays["y"],
        answer=largest,
        max_drop=0.005,
        min_int8=0.0,
    )


def magika(models: Path, data: Path) -> Case:
    """Types of files: every fourth sample to quantize by, the others to score on."""
    arrays = np.load(data / "magika_test.npz")
    bytes_, kinds = arrays["x"].astype(np.int32), arrays["y"]
    seen = np.arange(len(kinds)) % 4 == 0
    return Case(
        model=models / "magika_v3_3_f32.onnx",
        calibration={"bytes": bytes_[seen]},
        calibration_labels=kinds[seen],
        test={"bytes": bytes_[~seen]},
        labels=kinds[~seen],
        answer=largest,
        max_drop=0.01,  # one of the 110 that it is judged by is 0.9 %
        min_int8=0.5,
    )


def mobilenetv2(models: Path, _data: Path) -> Case:
    """Crops of the pictures in the wheels of scikit-image and scikit-learn."""
    return Case(
        model=models / "mobilenetv2_imagenet_f32.onnx",
        calibration={"input": _crops(*CROPS["calibration"])},
        calibration_labels=None,
        test={"input": _crops(*CROPS["test"])},
        labels=None,
        answer=largest,
        max_drop=0.15,
        min_int8=0.5,
    )


def _crops(count: int, seed: int) -> np.ndarray:
    """Return float32 [count, 3, 224, 224]: square parts of the pictures, each in turn."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    pictures = [p for p in map(_opened, _picture_files()) if min(p.size) >= SMALLEST_PICTURE]
    found = np.empty((count, 3, 224, 224), np.float32)
    for position in range(count):
        picture = pictures[position % len(pictures)]
        side = int(min(picture.size) * generator.uniform(0.5, 1.0))
        left, top = (int(generator.integers(0, size - side + 1)) for size in picture.size)
        part = picture.crop((left, top, left + side, top + side))
        pixels = np.asarray(part.resize((224, 224), Image.Resampling.BILINEAR), np.float32) / 255
        found[position] = ((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)
    return found


def _opened(path: Path) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")


def _picture_files() -> list[Path]:
    files: list[Path] = []
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise click.ClickException(f"{package} is missing: pip install 'tunesmith[bench]'")
        files += sorted(
            path
            for path in (Path(spec.origin).parent / folder).iterdir()
            if path.suffix in (".jpg", ".png")
        )
    return files


def ppocrv4_rec(models: Path, data: Path) -> Case:
    """Lines of text, right if every character is: two of five to quantize by."""
    model = models / "ppocrv4_rec_48x320_f32.onnx"
    arrays = np.load(data / "ocr_test.npz")
    images = arrays["x"].astype(np.float32)
    texts = np.char.replace(arrays["text"], " ", "")
    seen = np.arange(len(texts)) % 5 < 2
    return Case(
        model=model,
        calibration={"x": images[seen]},
        calibration_labels=texts[seen],
        test={"x": images[~seen]},
        labels=texts[~seen],
        answer=_reader(model),
        max_drop=0.01,
        min_int8=0.5,
        method="minmax",
    )


def _reader(model: Path) -> Answer:
    """Return a function that reads a line: the likeliest characters, repetitions and blanks left
    out (greedy CTC), spaces ignored."""
    notes = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    alphabet = ["", *notes["character"].split("\n"), " "]

    def read(outputs: Mapping[str, np.ndarray]) -> str:
        places = next(iter(outputs.values()))[0].argmax(axis=-1)
        kept = [p for i, p in enumerate(places) if i == 0 or p != places[i - 1]]
        return "".join(alphabet[place] for place in kept).replace(" ", "")

    return read


CASES: Mapping[str, Callable[[Path, Path], Case]] = {
    case.__name__: case for case in (mnist, kws_espeak, magika, mobilenetv2, ppocrv4_rec)
}


def measure(name: str, case: Case, report: Callable[[str], None]) -> Row:
    """Quantize by one set, score on the other."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        made = quantize(
            case.model,
            calibration=case.calibration,
            labels=case.calibration_labels,
            answer=case.answer,
            output=path,
            method=case.method,
            max_drop=case.max_drop,
            min_int8=case.min_int8,
            report=report,
        )
        report("scoring")
        exact, rounded = _answers(case.model, case), _answers(path, case)
        plain_answers = _plain_answers(case, Path(folder))
    wanted = exact if case.labels is None else case.labels.tolist()
    return Row(
        case=name,
        samples=len(exact),
        scored_by="agreement" if case.labels is None else "labels",
        float_score=_share(exact, wanted),
        plain_score=None if plain_answers is None else _share(plain_answers, wanted),
        score=_share(rounded, wanted),
        agreement=_share(rounded, exact),
        integer_share=made.integer_share,
        float_layers=[layer.name for layer in made.layers if not layer.integer],
        float_bytes=made.float_bytes,
        quantized_bytes=made.quantized_bytes,
        ranges=made.ranges,
        max_drop=case.max_drop,
    )


def _plain_answers(case: Case, folder: Path) -> list[Any] | None:
    """Quantize with onnxruntime alone; None where that fails (1.32: a Gemm with a bias for several
    columns) or gives a model that is not valid (opset 12)."""
    from onnxruntime.quantization import QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, path = folder / "prepared.onnx", folder / "plain.onnx"
    quant_pre_process(case.model, prepared, skip_symbolic_shape=True)
    samples = iter(
        [dict(zip(case.calibration, rows, strict=True)) for rows in _rows(case.calibration)]
    )
    reader = type("Reader", (), {"get_next": lambda _self: next(samples, None)})()
    try:
        quantize_static(prepared, path, reader, quant_format=QuantFormat.QDQ, per_channel=True)
        return _answers(path, case)
    except (ValueError, ModelError) as failure:
        click.echo(f"onnxruntime cannot quantize {case.model.name}: {failure}", err=True)
        return None


def _answers(path: Path, case: Case) -> list[Any]:
    network = Network(onnx.load(path), threads=os.cpu_count() or 1)
    return [
        case.answer(network.run(dict(zip(case.test, rows, strict=True))))
        for rows in _rows(case.test)
    ]


def _rows(arrays: Arrays) -> list[tuple[np.ndarray, ...]]:
    """Return what single runs of batch 1 take."""
    return list(zip(*(array[:, None] for array in arrays.values()), strict=True))


def _share(answers: Sequence[Any], wanted: Sequence[Any]) -> float:
    equal = [bool(a == b) for a, b in zip(answers, wanted, strict=True)]
    return sum(equal) / len(equal)


def table(rows: Sequence[Row]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| model | samples | scored by | float | onnxruntime, per channel | tunesmith "
        "| as the float model | MACs in int8 | layers in float | MB before | MB after |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        plain = "fails" if row.plain_score is None else f"{row.plain_score:.1%}"
        lines.append(
            f"| {row.case} | {row.samples} | {row.scored_by} | {row.float_score:.1%} "
            f"| {plain} | {row.score:.1%} | {row.agreement:.1%} "
            f"| {row.integer_share:.1%} | {len(row.float_layers)} "
            f"| {row.float_bytes / 1e6:.3f} | {row.quantized_bytes / 1e6:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _merged(rows: Sequence[Row], path: Path) -> list[Row]:
    """Return these rows and those of other cases that were measured before."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    found = {row["case"]: Row(**row) for row in before} | {row.case: row for row in rows}
    return [found[name] for name in CASES if name in found]


@click.command()
@click.option("--models", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--case", "names", multiple=True, type=click.Choice(list(CASES)), help="Default: all."
)
def main(models: Path, data: Path, names: tuple[str, ...]) -> None:
    """Measure and write the results."""
    path = RESULTS / "quantized_accuracy.json"
    for name in names or tuple(CASES):
        with progress_reporter() as report:
            row = measure(name, CASES[name](models, data), report)
        rows = _merged([row], path)
        text = json.dumps([asdict(r) for r in rows], indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".md").write_text(table(rows), encoding="utf-8")
        click.echo(table([row]))


if __name__ == "__main__":
    main()
