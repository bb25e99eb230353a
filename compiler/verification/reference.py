"""onnxruntime as the reference: one thread, CPU, optimisations off unless asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compiler.errors import InputError, ModelError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

# The protobuf format ends at 2 GiB.
LARGEST_MODEL_BYTES = 2**31 - 1


class Reference:
    """A session on the model as it is written: no fusion, no constant folding by onnxruntime.

    Args:
        optimized: the other way: all that onnxruntime does for speed.
    """

    def __init__(self, proto: onnx.ModelProto, *, optimized: bool = False) -> None:
        self._session = _session(proto, optimized=optimized)
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return all outputs by name.

        Raises:
            InputError: onnxruntime stops on these inputs, for example at an index out of bounds.
        """
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime raises classes of its own, with no common base
            raise InputError(
                "onnxruntime cannot run the model on these inputs, so there is nothing to "
                "compare with",
                why=_without_codes(str(error)),
                fix="give inputs that suit the model with --inputs arrays.npz",
            ) from error
        return dict(zip(self._names, outputs, strict=True))


def with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy whose outputs are also the named intermediate values."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    present = {output.name for output in proto.graph.output}
    known = {value.name: value for value in proto.graph.value_info}
    for name in names:
        if name not in present:
            changed.graph.output.append(known.get(name) or onnx.ValueInfoProto(name=name))
    return changed


def version() -> str:
    """Return onnxruntime's version."""
    import onnxruntime

    return str(onnxruntime.__version__)


def _without_codes(text: str) -> str:
    """``[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : what`` -> what, its first line."""
    line = text.strip().partition("\n")[0]
    return line.rpartition(" : ")[2] if line.startswith("[ONNXRuntimeError]") else line


def _session(proto: onnx.ModelProto, *, optimized: bool) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    )
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it prints at 3 is in the exception, too
    if proto.ByteSize() > LARGEST_MODEL_BYTES:
        raise ModelError(
            "the model is too large to be checked",
            why=f"it holds {proto.ByteSize():,} bytes, onnxruntime takes {LARGEST_MODEL_BYTES:,}",
            fix="compile it with --no-verify",
        )
    try:
        return onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises classes of its own, with no common base
        raise ModelError(
            "onnxruntime cannot run the model, so there is nothing to compare with",
            why=_without_codes(str(error)),
            fix="compile it with --no-verify, or simplify the model",
        ) from error
