"""Libraries for other processors, run in QEMU, against onnxruntime on the same inputs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.artifact.manifest import Artifact
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import InputError, NotRunnableError
from compiler.measure.bench import bench
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile
from compiler.runners.open_runner import open_runner
from compiler.runners.vector_length import with_vector_bits
from compiler.target_spec import load_target
from compiler.verification.reference import Reference
from compiler.verification.result import Status
from compiler.verification_inputs import draw_inputs
from compiler.verify import check, verify
from tests.onnx_models import conv_net_model, save

# Instructions for each multiply-accumulate of ResNet-8: measured 0.35 on cortex-a72, 0.213 on
# neoverse-v1 with vectors of 256 bits, 0.51 on rv64gcv.
MOST_INSTRUCTIONS_FOR_EACH_MAC = {"cortex-a72": 0.40, "neoverse-v1": 0.22, "rv64gcv": 0.55}
needs_qemu_aarch64 = pytest.mark.skipif(
    shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64 (qemu-user)"
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("cortex-a72")
    path = save(conv_net_model(), folder / "net.onnx")
    return compile(path, target="cortex-a72", output=folder / "out", verify="require")


@needs_qemu_aarch64
def test_library_for_aarch64_agrees_with_onnxruntime(artifact: Artifact) -> None:
    model = load_model(artifact.path.parent / "net.onnx")
    sets = [draw_inputs(model, seed) for seed in (3, 4)]
    with open_runner(artifact.path) as runner:
        result = runner.run(sets, count=True)
        again = runner.run(sets[:1], count=True)
    for given, outputs in zip(sets, result.outputs, strict=True):
        for name, expected in Reference(model.source).run(given).items():
            largest = float(np.abs(expected).max())
            np.testing.assert_allclose(outputs[name], expected, atol=1e-4 * largest, rtol=0)
    verification = json.loads(artifact.verification_path.read_text())
    assert verification["machine"]["architecture"] == "aarch64"
    assert "emulated by qemu-aarch64" in verification["machine"]["cpu"]
    assert result.instruction_count is not None
    # Libc's copies take some more or less, as their addresses are aligned.
    assert again.instruction_count == pytest.approx(result.instruction_count, rel=0.02)
    assert result.instruction_count > 1_000


@needs_qemu_aarch64
@pytest.mark.emulator
@pytest.mark.parametrize("target", MOST_INSTRUCTIONS_FOR_EACH_MAC)
def test_instructions_for_each_multiply_accumulate(
    target: str, models: Path, tmp_path: Path
) -> None:
    model = models / "mlperf_tiny_ic_resnet8_f32.onnx"
    artifact = compile(model, target=target, output=tmp_path / "out", exact=True, verify="require")
    with open_runner(artifact) as runner:
        counted = runner.run([drawn_inputs(runner.inputs)], count=True).instruction_count
    macs = sum(kernel["macs"] for kernel in artifact.report()["kernels"])
    assert counted is not None
    assert counted <= MOST_INSTRUCTIONS_FOR_EACH_MAC[target] * macs


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cortex-a72", "rv64gc", "rv64gcv"])
def test_every_kernel_alone(target: str, models: Path, tmp_path: Path) -> None:
    emulator = load_target(target).runner.command[0]
    if shutil.which(emulator) is None:
        pytest.skip(f"needs {emulator} (qemu-user)")
    model = models / "mlperf_tiny_kws_dscnn_f32.onnx"
    artifact = compile(model, target=target, output=tmp_path / "out", verify="skip")
    result = verify(artifact.path, model, per_kernel=True)
    assert result.passed
    assert len(result.kernels) == len(artifact.report()["kernels"])
    assert result.machine.cpu.startswith(f"emulated by {emulator}")


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("target", "command", "missing"),
    [
        ("rv64gcv", ["qemu-riscv64", "-cpu", "rv64,v=false"], "v"),
        ("neoverse-n1", ["qemu-aarch64", "-cpu", "cortex-a72"], "lse"),
    ],
)
def test_processor_without_a_feature_is_refused_by_name(
    target: str, command: list[str], missing: str, tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]} (qemu-user)")
    spec = load_target(target)
    spec = replace(spec, runner=replace(spec.runner, command=tuple(command)))
    path = save(conv_net_model(), tmp_path / "net.onnx")
    artifact = compile(path, target=spec, output=tmp_path / "out", verify="skip")
    with open_runner(artifact) as runner, pytest.raises(NotRunnableError) as caught:
        runner.run([drawn_inputs(runner.inputs)])
    assert caught.value.what.endswith(f" lacks the CPU feature {missing}")
    assert caught.value.why == f"the library was compiled for {target}"
    assert check(artifact.path, load_model(path)).status is Status.NOT_RUN


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cortex-a72", "rv64gc"])
def test_same_bytes_in_another_folder(target: str, tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    folders = [tmp_path / "a", tmp_path / "deeper" / "b"]
    for folder, jobs in zip(folders, (1, 2), strict=True):
        folder.parent.mkdir(exist_ok=True)
        compile(path, target=target, output=folder, jobs=jobs, verify="skip")
    files = [
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in folders
    ]
    assert files[0] == files[1]


@needs_qemu_aarch64
@pytest.mark.emulator
def test_bench_counts_instructions_in_an_emulator(models: Path) -> None:
    result = bench([models / "mnist_dscnn_f32.onnx"], target="cortex-a72")
    (model,) = result.models
    ours, peer = model.timings
    assert ours.seconds == peer.seconds == ()
    assert ours.instruction_count is not None
    assert model.instructions_for_each_mac is not None
    assert model.instructions_for_each_mac < 0.6  # measured: 0.43
    assert peer.error.startswith("not emulated by qemu-aarch64")
    assert result.geometric_mean("onnxruntime") is None


@needs_qemu_aarch64
@pytest.mark.emulator
@pytest.mark.parametrize(
    "model",
    [
        "mlperf_tiny_ic_resnet8_f32",
        "mlperf_tiny_kws_dscnn_f32",
        pytest.param("mnist_dscnn_f32", marks=pytest.mark.slow),
        pytest.param("kws_espeak_dscnn_f32", marks=pytest.mark.slow),
    ],
)
def test_one_sve_library_for_vectors_of_any_length(
    model: str, models: Path, tmp_path: Path
) -> None:
    path = models / f"{model}.onnx"
    artifact = compile(path, target="neoverse-v1", output=tmp_path / "out", verify="skip")
    counts = []
    for bits in (128, 256, 512, 2048):
        assert verify(artifact.path, path, vector_bits=bits).passed
        written = json.loads(artifact.verification_path.read_text())
        assert f"sve{bits}=on" in written["machine"]["cpu"]
        with open_runner(with_vector_bits(artifact, bits)) as runner:
            counts.append(runner.run([drawn_inputs(runner.inputs)], count=True).instruction_count)
    short, usual, *_ = counts
    assert short is not None
    assert usual is not None
    assert usual < 0.7 * short  # longer vectors are used where there are any


def test_target_without_scalable_vectors_has_one_length(artifact: Artifact) -> None:
    with pytest.raises(InputError) as caught:
        verify(artifact.path, artifact.path.parent / "net.onnx", vector_bits=512)
    assert caught.value.what == f"{artifact.path}: cannot be run with vectors of 512 bits"
    assert "target cortex-a72 has no emulator that is told a length" in caught.value.why
