"""What a board's RPC server loads, called on another processor without TVM."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from compiler.onnx_import.load import load_model
from compiler.pipeline import compile
from compiler.runners.rpc_program import build_kernels_library, build_model_library
from compiler.runners.runner import KernelSymbol
from compiler.toolchain import find_toolchain, static_program_command
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs
from tests.onnx_models import conv_net_model, save

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64"),
]

_HARNESS = Path(__file__).parents[1] / "c" / "call_rpc_model.c"


def test_functions_on_64_bit_arm(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    model = load_model(save(conv_net_model(), tmp_path / "net.onnx"))
    artifact = compile(
        model, target="cortex-a72", output=tmp_path / "net", threads=2, verify="skip"
    )
    library = build_model_library(artifact, tmp_path)  # leaves sources and headers there
    assert library.name == "rpc_model.so"
    symbols = [
        KernelSymbol(name=phase["symbol"], pointer_count=1)
        for kernel in artifact.report()["kernels"]
        for phase in kernel["phases"]
    ]
    kernels = build_kernels_library(artifact, tmp_path, symbols)
    assert kernels.stat().st_size < library.stat().st_size

    manifest = artifact.manifest
    cc = static_program_command(find_toolchain(manifest.runner.cc))
    prefix = manifest.symbol_prefix
    flags = (f"-DMODEL={prefix}_model", f"-DWEIGHTS={prefix}__weights", "-I.", "-std=c99")
    sources = ("rpc_model.c", str(_HARNESS), str(artifact.static_library_path))
    program = (*cc, *flags, "-o", "harness", *sources, "-lm", "-lpthread")
    subprocess.run(program, cwd=tmp_path, check=True)

    inputs = draw_inputs(model, seed=0)
    (given,) = inputs.values()
    (output,) = model.outputs
    (tmp_path / "in.bin").write_bytes(given.tobytes())
    size = manifest.outputs[0].size_bytes
    words = ("./harness", "in.bin", str(given.nbytes), "out.bin", str(size))
    done = subprocess.run(
        ("qemu-aarch64", "-cpu", "cortex-a72", *words),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("Linux\naarch64\n")
    expected = Reference(model.source).run(inputs)[output.name]
    got = np.fromfile(tmp_path / "out.bin", np.float32).reshape(output.shape)
    # As for whole models: 1e-4 of the largest value.
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))
