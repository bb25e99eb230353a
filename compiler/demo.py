"""The main job on a trained model: compile it, classify a test set, compare with onnxruntime."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

_MODELS = Path(__file__).parent.parent / "tests" / "models"
MODEL = _MODELS / "mnist_dscnn_f32.onnx"
TEST_SET = _MODELS / "mnist_test.npz"

_ROUNDS = 7  # each times every engine once; the fastest round counts
_IMAGES_PER_ROUND = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineResult:
    """What one engine made of the test set, on one thread."""

    name: str
    correct_count: int
    image_count: int
    us_per_image: float

    @property
    def accuracy_percent(self) -> float:
        return 100 * self.correct_count / self.image_count


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """Both engines on the test set, and how far their outputs are apart."""

    folder: Path
    ours: EngineResult
    reference: EngineResult
    largest_difference: float  # of any output of any image
    largest_reference: float  # absolute value of onnxruntime's outputs


def run_demo(folder: Path, report: Callable[[str], None]) -> DemoResult:
    """Compile the digits model for this machine into `folder` and compare it with onnxruntime.

    Raises:
        CompilerError: the model is not there (an installation without the repository), or what
            `compiler.compile` raises.
    """
    for path in (MODEL, TEST_SET):
        if not path.exists():
            raise ModelError(
                f"the demo needs {path.name}, which is not here",
                why="the trained model and its test set are in the repository, not in the package",
                fix="run `make demo` in a clone of the repository",
            )
    from compiler.pipeline import compile as compile_model

    compile_model(MODEL, target="host", output=folder, progress=report)
    report("classify the test set")
    return _compare(folder, *_test_set())


def _test_set() -> tuple[np.ndarray, np.ndarray]:
    """Return images [N, 1, 28, 28] float32 and their digits [N]."""
    from compiler.array_files import read_arrays

    arrays = read_arrays(TEST_SET)
    return arrays["x"], arrays["y"]


def _compare(folder: Path, images: np.ndarray, digits: np.ndarray) -> DemoResult:
    import numpy as np

    engines = {"tunesmith": _our_engine(folder), "onnxruntime": _onnxruntime_engine()}
    logits = {
        name: np.stack([engine(images[i : i + 1]) for i in range(len(images))])
        for name, engine in engines.items()
    }
    times = _interleaved_times(engines, images[:_IMAGES_PER_ROUND])
    results = {
        name: EngineResult(
            name=name,
            correct_count=int((logits[name].reshape(len(images), -1).argmax(1) == digits).sum()),
            image_count=len(images),
            us_per_image=times[name],
        )
        for name in engines
    }
    return DemoResult(
        folder=folder,
        ours=results["tunesmith"],
        reference=results["onnxruntime"],
        largest_difference=float(np.abs(logits["tunesmith"] - logits["onnxruntime"]).max()),
        largest_reference=float(np.abs(logits["onnxruntime"]).max()),
    )


def _our_engine(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    from compiler.library import load

    library = load(folder, threads=1)
    source, result = library.inputs[0].name, library.outputs[0].name
    return lambda image: library.run({source: image})[result]


def _onnxruntime_engine() -> Callable[[np.ndarray], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    return lambda image: session.run(None, {source: image})[0]


def _interleaved_times(
    engines: dict[str, Callable[[np.ndarray], np.ndarray]], images: np.ndarray
) -> dict[str, float]:
    """Return microseconds per image of each engine's fastest round; rounds take turns."""
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            start = time.perf_counter()
            for i in range(len(images)):
                engine(images[i : i + 1])
            elapsed_us = (time.perf_counter() - start) * 1e6 / len(images)
            best[name] = min(best[name], elapsed_us)
    return best
