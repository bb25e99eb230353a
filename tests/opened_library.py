"""A program of `run_model.c` in an emulator, against onnxruntime on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.library_arrays import tensor_specs
from compiler.onnx_import.load import load_model
from compiler.runners.emulated_process import run_emulated
from compiler.runners.tensor_files import read_sets, write_sets
from compiler.verification.reference import Reference
from compiler.verification_inputs import Arrays, draw_inputs

SEEDS = (5, 6)


def check_program(emulator: Sequence[str], folder: Path, artifact: Artifact, model: Path) -> None:
    """Run ``host`` in `folder` with one and with two threads; fail if outputs are not right."""
    loaded = load_model(model)
    sets = [draw_inputs(loaded, seed) for seed in SEEDS]
    names = [tensor.name for tensor in artifact.manifest.inputs]
    write_sets(folder / "in", [[given[name] for name in names] for given in sets])
    one, two = (_outputs(emulator, folder, artifact, threads) for threads in (1, 2))
    for given, outputs, threaded in zip(sets, one, two, strict=True):
        for name, expected in Reference(loaded.source).run(given).items():
            largest = float(np.abs(expected).max())
            np.testing.assert_allclose(threaded[name], expected, atol=1e-4 * largest, rtol=0)
            assert np.array_equal(outputs[name], threaded[name])  # threads change no bit


def _outputs(
    emulator: Sequence[str], folder: Path, artifact: Artifact, threads: int
) -> tuple[Arrays, ...]:
    words = ("./host", "in", "out.bin", str(len(SEEDS)), "2", str(threads))
    done = run_emulated((*emulator, *words), folder, what="program", fix="")
    assert (done.returncode, done.stderr) == (0, "")
    return read_sets(folder / "out.bin", tensor_specs(artifact.manifest.outputs), len(SEEDS))
