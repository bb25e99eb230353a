"""A model in onnxruntime, run sample by sample, with the numbers that the file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compiler.errors import InputError, ModelError

if TYPE_CHECKING:
    import onnx

Arrays = Mapping[str, np.ndarray]


class Network:
    """A session on a float or quantized model.

    Quantizers and dequantizers are computed as they are written, between layers in float32: with
    onnxruntime's own integer kernels the result would depend on this machine's instructions.
    Everything else is optimised, because a search runs many models.

    Args:
        outputs: values to return; by default the model's outputs.
    """

    def __init__(
        self, proto: onnx.ModelProto, outputs: Sequence[str] = (), *, threads: int = 1
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        model = with_extra_outputs(proto, outputs) if outputs else proto
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own, with no common base
            raise ModelError(
                "onnxruntime cannot run the model, so it cannot be calibrated",
                why=str(error).strip().partition("\n")[0],
                fix="check it with `tunesmith inspect`",
            ) from error
        self._names = list(outputs) or [output.name for output in proto.graph.output]

    def run(self, sample: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs for one sample, by name.

        Raises:
            InputError: the model stops on this sample, for example at an index out of bounds.
        """
        try:
            outputs = self._session.run(self._names, dict(sample))
        except Exception as error:  # as above
            raise InputError(
                "the model cannot be run on a calibration sample",
                why=str(error).strip().partition("\n")[0],
                fix="give samples that suit the model",
            ) from error
        return dict(zip(self._names, outputs, strict=True))


def with_extra_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy that hands out the named values too."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    present = {output.name for output in proto.graph.output}
    changed.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in present
    )
    return changed
