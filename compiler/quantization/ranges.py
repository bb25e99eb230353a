"""What range each value takes: onnxruntime's calibration on the samples of the user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.errors import CompilerError

if TYPE_CHECKING:
    import onnx

METHODS = ("minmax", "percentile", "entropy")
PERCENTILE = 99.99
# A histogram calibrator holds every value of every sample of a round in memory.
SAMPLES_PER_ROUND = 8

Range = tuple[float, float]


class QuantizationError(CompilerError):
    """A model cannot be quantized as the user wants it."""


def calibrate(
    proto: onnx.ModelProto,
    values: Sequence[str],
    samples: Sequence[Mapping[str, np.ndarray]],
    method: str,
) -> dict[str, Range]:
    """Return the range of each value over all samples, widened to hold 0.

    Args:
        method: ``minmax``; ``percentile``, which leaves out the rarest numbers; or ``entropy``,
            which cuts where the distribution changes least.

    Raises:
        QuantizationError: a value is not finite on these samples.
    """
    with TemporaryDirectory() as folder:
        calibrator = _calibrator(proto, values, method, Path(folder))
        with redirect_stdout(StringIO()):  # it prints what it does
            for start in range(0, len(samples), SAMPLES_PER_ROUND):
                calibrator.collect_data(_Reader(samples[start : start + SAMPLES_PER_ROUND]))
            found = calibrator.compute_data()
    ranges = {}
    for name in values:
        low, high = (float(np.ravel(bound)[0]) for bound in found[name].range_value)
        if not np.isfinite([low, high]).all():
            raise QuantizationError(
                f"value {name!r} is not finite on the calibration samples",
                why=f"its range is {low} to {high}, which no scale can hold",
                fix="give samples for which the float model gives finite numbers",
            )
        ranges[name] = (min(low, 0.0), max(high, 0.0))
    return ranges


def _calibrator(proto: onnx.ModelProto, values: Sequence[str], method: str, folder: Path) -> Any:
    """Return one of onnxruntime's calibrators, ready to collect these values."""
    import onnx
    from onnxruntime.quantization import calibrate as kept

    model, augmented = folder / "model.onnx", folder / "augmented.onnx"
    onnx.save(proto, model)
    classes = {
        "minmax": kept.MinMaxCalibrater,
        "percentile": kept.PercentileCalibrater,
        "entropy": kept.EntropyCalibrater,
    }
    extra = {"percentile": PERCENTILE} if method == "percentile" else {}
    calibrator = classes[method](model, augmented_model_path=str(augmented), **extra)
    known = {v.name: v for v in (*proto.graph.value_info, *proto.graph.output, *proto.graph.input)}
    calibrator.select_tensors_to_calibrate = lambda _model: (list(values), known)
    calibrator.augment_graph()
    calibrator.create_inference_session()
    return calibrator


@dataclass(slots=True)
class _Reader:
    """Samples in the form that the calibrators ask for."""

    samples: Sequence[Mapping[str, np.ndarray]]
    _rest: Iterator[Mapping[str, np.ndarray]] | None = None

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next sample, None at the end."""
        if self._rest is None:
            self._rest = iter(self.samples)
        sample = next(self._rest, None)
        return None if sample is None else dict(sample)
