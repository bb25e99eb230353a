"""Engines that can be timed: each loads one model and runs it again and again on the same inputs.

This runs in the engine's own process, which imports nothing of the other engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedEngine:
    """A model made ready: ``run()`` is the call that is timed."""

    run: Callable[[], object]
    version: str
    settings: dict[str, str]


def load_tunesmith(path: Path, inputs: Arrays, threads: int) -> LoadedEngine:
    """Load an artifact; the call takes and gives numpy arrays by name."""
    from compiler.library import load
    from compiler.version import VERSION

    library = load(path, threads=threads)
    return LoadedEngine(
        run=lambda: library.run(inputs), version=VERSION, settings={"threads": str(threads)}
    )


def load_onnxruntime(path: Path, inputs: Arrays, threads: int) -> LoadedEngine:
    """Load an ONNX file with all optimisations; its workers stop spinning when a run ends."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Spinning during a run is onnxruntime's default and helps it; after one it disturbs others.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = dict(inputs)
    return LoadedEngine(
        run=lambda: session.run(None, feed),
        version=str(onnxruntime.__version__),
        settings={
            "graph_optimization_level": "all",
            "intra_op_num_threads": str(threads),
            "inter_op_num_threads": "1",
            "session.force_spinning_stop": "1",
        },
    )


def load_openvino(path: Path, inputs: Arrays, threads: int) -> LoadedEngine:
    """Load an ONNX file for lowest latency, in float32 as the file says (not bfloat16)."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    # By position: an ONNX name may carry a suffix that OpenVINO takes for a port.
    feed = dict(enumerate(inputs.values()))
    return LoadedEngine(
        run=lambda: request.infer(feed, share_inputs=True, share_outputs=True),
        version=str(openvino.__version__),
        settings=settings,
    )


LOADERS: dict[str, Callable[[Path, Arrays, int], LoadedEngine]] = {
    "tunesmith": load_tunesmith,
    "untuned": load_tunesmith,
    "onnxruntime": load_onnxruntime,
    "openvino": load_openvino,
}
