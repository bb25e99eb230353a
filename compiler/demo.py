"""The main job on a trained model: compile it, classify a test set, compare with onnxruntime."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from compiler.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

    from compiler.artifact.manifest import Artifact

_MODELS = Path(__file__).parent.parent / "tests" / "models"
MODEL = _MODELS / "mnist_dscnn_f32.onnx"
TEST_SET = _MODELS / "mnist_test.npz"

_TIMED_RUNS = 1_000  # of each engine, over several turns; one takes well under a millisecond

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineResult:
    """What one engine made of the test set, on one thread."""

    engine: str
    correct_count: int
    image_count: int
    us_per_image: float  # the fastest of all timed calls

    @property
    def accuracy_percent(self) -> float:
        return 100 * self.correct_count / self.image_count


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """Both engines on the test set, how far their outputs are apart, and what was made."""

    folder: Path
    ours: EngineResult
    reference: EngineResult
    largest_difference: float  # of any output of any image
    largest_output: float  # absolute value, of onnxruntime's outputs
    library_bytes: int
    weight_bytes: int  # part of the library
    arena_bytes: int
    needs: tuple[str, ...]  # shared libraries; empty if there is no readelf to ask


def run_demo(folder: Path, report: Report) -> DemoResult:
    """Compile the digits model for this machine into `folder` and compare it with onnxruntime.

    Raises:
        ModelError: the model is not here: an installation without the repository.
        CompilerError: what `compiler.compile` raises.
    """
    for path in (MODEL, TEST_SET):
        if not path.exists():
            raise ModelError(
                f"the demo needs {path.name}, which is not here",
                why="the trained model and its test set are in the repository, not in the package",
                fix="run `make demo` in a clone of the repository",
            )
    from compiler.array_files import read_arrays
    from compiler.pipeline import compile as compile_model

    artifact = compile_model(MODEL, target="host", output=folder, report=report)
    arrays = read_arrays(TEST_SET)
    report("classify the test set")
    return _compare(artifact, arrays["x"], arrays["y"], report)


def _compare(
    artifact: Artifact, images: np.ndarray, digits: np.ndarray, report: Report
) -> DemoResult:
    """Classify `images` [N, 1, 28, 28], whose truth is `digits` [N], with both engines."""
    import numpy as np

    ours, reference = _our_logits(artifact.path, images), _reference_logits(images)
    report("time both engines")
    our_us, reference_us = _times_us(artifact.path, images[:1])
    return DemoResult(
        folder=artifact.path,
        ours=_result("tunesmith", ours, digits, our_us),
        reference=_result("onnxruntime", reference, digits, reference_us),
        largest_difference=float(np.abs(ours - reference).max()),
        largest_output=float(np.abs(reference).max()),
        library_bytes=artifact.library_path.stat().st_size,
        weight_bytes=artifact.manifest.memory.weight_bytes,
        arena_bytes=artifact.manifest.memory.arena_bytes,
        needs=_needed_libraries(artifact.library_path),
    )


def _result(engine: str, logits: np.ndarray, digits: np.ndarray, us: float) -> EngineResult:
    correct = int((logits.argmax(axis=1) == digits).sum())
    return EngineResult(
        engine=engine, correct_count=correct, image_count=len(digits), us_per_image=us
    )


def _our_logits(folder: Path, images: np.ndarray) -> np.ndarray:
    """Return [N, 10], one run for each image."""
    from compiler.library import load

    library = load(folder, threads=1)
    source, result = library.inputs[0].name, library.outputs[0].name
    return _one_by_one(images, lambda image: library.run({source: image})[result])


def _reference_logits(images: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    return _one_by_one(images, lambda image: session.run(None, {source: image})[0])


def _one_by_one(images: np.ndarray, run: Callable[[np.ndarray], Any]) -> np.ndarray:
    import numpy as np

    return np.concatenate([run(images[i : i + 1]) for i in range(len(images))])


def _times_us(folder: Path, image: np.ndarray) -> tuple[float, float]:
    """Return the fastest call of ours and of onnxruntime; they take turns, one thread each."""
    from compiler.array_files import write_arrays
    from compiler.library import load
    from compiler.measure.bench import time_engines
    from compiler.measure.engine_process import EngineRequest

    with TemporaryDirectory(prefix="tunesmith-demo-") as temporary:
        inputs = Path(temporary) / "image.npz"
        write_arrays(inputs, {load(folder).inputs[0].name: image})
        requests = [
            EngineRequest(engine=engine, path=path, inputs=inputs, threads=1, cpus=())
            for engine, path in (("tunesmith", folder), ("onnxruntime", MODEL))
        ]
        ours, reference = time_engines(requests, _TIMED_RUNS)
    return ours.minimum_us or 0.0, reference.minimum_us or 0.0


def _needed_libraries(library: Path) -> tuple[str, ...]:
    """Return the shared libraries that the loader fetches with this one."""
    if shutil.which("readelf") is None:
        return ()
    from compiler.toolchain import run_tool

    lines = run_tool(("readelf", "-d", str(library.resolve())), folder=None).splitlines()
    return tuple(line.partition("[")[2].rstrip("]") for line in lines if "(NEEDED)" in line)
