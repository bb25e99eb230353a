"""Integer kernels of every target: near ties and many inputs give the contract's bytes.

AVX-512 and VNNI run in Bochs, everything else in QEMU.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.artifact.manifest import read_artifact
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.target_spec import load_target
from tests.bochs import missing_for_bochs
from tests.exercised_inputs import exercised_sets
from tests.integer_reference import IntegerReference
from tests.near_ties import near_ties
from tests.onnx_models import save
from tests.quantized_models import CASES, all_cases, every_integer
from tests.run_anywhere import needs_bochs, run_anywhere

AVX512 = ("x86-64-v4", "icelake-server")
TARGETS = (
    *AVX512,
    *("cortex-a72", "neoverse-n1", "neoverse-v1", "rv64gc", "rv64gcv"),
    *("cortex-m0plus", "cortex-m4f", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imac"),
)
MODELS = Path(__file__).parents[1] / "models"
SMALL = ("mlperf_tiny_kws_dscnn_qdq8.onnx", "mlperf_tiny_ad_autoencoder_qdq8.onnx")
MANY = 20

Arrays = dict[str, np.ndarray]


def _needs_tools(target: str) -> None:
    spec = load_target(target)
    if needs_bochs(spec):
        missing = missing_for_bochs(spec)
        if missing is not None:
            pytest.skip(missing)
        return
    tools = [spec.toolchain.cc[0], *spec.runner.command[:1]]
    for tool in tools:
        if shutil.which(tool) is None and not tool.startswith("zig"):
            pytest.skip(f"needs {tool}")


def _different(path: Path, target: str, folder: Path, sets: list[Arrays]) -> list[tuple[int, str]]:
    """Sets of inputs and outputs that differ from the reference in type, shape or any byte."""
    spec = load_target(target)
    made = compile_model(path, target=spec, output=folder / "out", verify="skip")
    results, _ = run_anywhere(made, spec, sets)
    reference = IntegerReference(onnx.load(path))
    return [
        (number, name)
        for number, (given, outputs) in enumerate(zip(sets, results, strict=True))
        for name, expected in reference.run(given).items()
        if (outputs[name].dtype, outputs[name].shape) != (expected.dtype, expected.shape)
        or outputs[name].tobytes() != np.ascontiguousarray(expected).tobytes()
    ]


@pytest.mark.emulator
@pytest.mark.parametrize("target", TARGETS)
def test_near_ties(target: str, tmp_path: Path) -> None:
    _needs_tools(target)
    model, given = near_ties()
    path = save(model, tmp_path / "ties.onnx")
    assert _different(path, target, tmp_path, [given]) == []


# QEMU runs all of them in `test_integer_targets.py`. Bochs 2.7 refuses the gathers of softmax.
OPERATORS = tuple(name for name in CASES if not name.startswith("softmax"))


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("target", "instruction"), [("x86-64-v4", "vpmaddwd"), ("icelake-server", "vpdpbusd")]
)
def test_operators_by_avx512(target: str, instruction: str, tmp_path: Path) -> None:
    _needs_tools(target)
    model = all_cases(OPERATORS)
    path = save(model, tmp_path / "operators.onnx")
    assert _different(path, target, tmp_path, [every_integer(model, 0)]) == []
    assert _has(tmp_path / "out", f"{instruction} .*%zmm")


def _has(folder: Path, pattern: str) -> bool:
    """Whether a line of the library's machine code matches."""
    library = str(read_artifact(folder).static_library_path)
    words = ("objdump", "-d", "--no-show-raw-insn", library)
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return re.search(pattern, text) is not None


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("target", TARGETS)
def test_many_inputs(target: str, name: str, tmp_path: Path) -> None:
    _needs_tools(target)
    path = MODELS / name
    sets = exercised_sets(load_model(path), MANY)
    assert _different(path, target, tmp_path, sets) == []
