"""Firmware in QEMU's boards: the same numbers as onnxruntime, counted and within limits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from compiler.artifact.manifest import Artifact
from compiler.errors import LimitError
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.runners.firmware import FirmwareRunner
from compiler.runners.open_runner import open_runner
from compiler.target_spec import load_target
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs
from compiler.verify import check
from tests.onnx_models import conv_net_model, make_model, save
from tests.shipped_targets import MICROCONTROLLERS

# Without weights, with the test harness; measured 5.8 to 16.1 KB.
MOST_FIRMWARE_BYTES = 24 * 1024
ARENA_OVER_LOWER_BOUND = 1.08
MLPERF_TINY = (
    "mlperf_tiny_ad_autoencoder",
    "mlperf_tiny_ic_resnet8",
    "mlperf_tiny_kws_dscnn",
    "mlperf_tiny_vww_mobilenetv1",
)
MODELS = tuple(
    f"{name}_{kind}"
    for name in (*MLPERF_TINY, "mnist_dscnn", "kws_espeak_dscnn")
    for kind in ("f32", "qdq8")
)


def needs_tools(target: str) -> None:
    spec = load_target(target)
    for tool in (spec.toolchain.cc[0], spec.runner.command[0]):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    needs_tools("cortex-m4f")
    folder = tmp_path_factory.mktemp("cortex-m4f")
    path = save(conv_net_model(), folder / "net.onnx")
    return compile_model(path, target="cortex-m4f", output=folder / "out", verify="skip")


@pytest.mark.emulator
@pytest.mark.slow
def test_integers_from_the_caller_lie_in_the_arena(tmp_path: Path) -> None:
    """The input needs no memory of its own: the runner writes it where the manifest says."""
    needs_tools("cortex-m4f")
    path = Path(__file__).parents[1] / "models" / "mlperf_tiny_vww_mobilenetv1_qdq8.onnx"
    made = compile_model(
        path, target="cortex-m4f", output=tmp_path / "out", io="int8", verify="require"
    )
    manifest = made.manifest
    assert manifest.inputs[0].place is not None
    outputs = sum(tensor.size_bytes for tensor in manifest.outputs)
    assert manifest.memory.arena_bytes + outputs <= 60_000


def test_cortex_m4_firmware_agrees_with_onnxruntime(artifact: Artifact) -> None:
    model = load_model(artifact.path.parent / "net.onnx")
    sets = [draw_inputs(model, seed) for seed in (3, 4)]
    with open_runner(artifact) as runner:
        result = runner.run(sets, count=True)
        again = runner.run(sets[:1], count=True)
        assert "emulated by qemu-system-arm -machine mps2-an386" in runner.machine.cpu
    for given, outputs in zip(sets, result.outputs, strict=True):
        for name, expected in Reference(model.source).run(given).items():
            largest = float(np.abs(expected).max())
            np.testing.assert_allclose(outputs[name], expected, atol=1e-4 * largest, rtol=0)
    # Exact: the same firmware on the same inputs takes the same instructions.
    assert result.instruction_count == again.instruction_count
    assert result.instruction_count is not None
    assert result.instruction_count > 10_000
    assert result.stack_bytes is not None
    assert 100 < result.stack_bytes < 2_000


def test_firmware_with_inputs_and_outputs_in_the_arena(artifact: Artifact, tmp_path: Path) -> None:
    """Sets are read from where a run has overwritten the one before, also when runs are counted."""
    path = artifact.path.parent / "net.onnx"
    made = compile_model(
        path, target="cortex-m4f", output=tmp_path / "out", io_memory="arena", verify="skip"
    )
    sets = [draw_inputs(load_model(path), seed) for seed in (3, 4)]
    with open_runner(artifact) as runner, open_runner(made) as in_arena:
        apart, held = runner.run(sets, count=True), in_arena.run(sets, count=True)
    for one, other in zip(apart.outputs, held.outputs, strict=True):
        np.testing.assert_array_equal(one["y"], other["y"])
    assert apart.instruction_count is not None
    assert held.instruction_count is not None
    # Only code that may work in place differs, not the work: softmax takes its row again.
    assert abs(held.instruction_count - apart.instruction_count) < apart.instruction_count / 100
    given = made.manifest.inputs[0]
    assert given.place is not None
    assert (
        made.manifest.memory.arena_bytes < artifact.manifest.memory.arena_bytes + given.size_bytes
    )


def test_arrays_of_the_caller_that_do_not_fit_may_do_so_in_the_arena(tmp_path: Path) -> None:
    """Input and output have 80,000 bytes each; beside the stack, 120,000 are there."""
    needs_tools("cortex-m4f")
    spec = load_target("cortex-m4f")
    memory = tuple(
        replace(region, size_bytes=131_072) if region.kind == "ram" else region
        for region in spec.memory
    )
    spec = replace(spec, memory=memory, limits=replace(spec.limits, stack_bytes=8_192))
    model = make_model(
        [helper.make_node("Sqrt", ["x"], ["y"], name="node")],
        inputs={"x": ("float32", [1, 20_000])},
        outputs={"y": ("float32", [1, 20_000])},
    )
    path = save(model, tmp_path / "net.onnx")
    with pytest.raises(LimitError) as refused:
        compile_model(path, target=spec, output=tmp_path / "out")
    assert refused.value.what == (
        "the firmware with the model's inputs and outputs does not fit the board"
    )
    assert refused.value.fix == (
        "use a target with more memory, or a smaller input, or compile with --io-memory arena, "
        "where results take the place of inputs"
    )
    made = compile_model(path, target=spec, output=tmp_path / "out", io_memory="arena")
    assert json.loads(made.verification_path.read_text())["status"] == "passed"
    assert made.manifest.memory.arena_bytes == 80_000


# Arena of TensorFlow Lite for microcontrollers with CMSIS-NN: the inputs and outputs are in it.
TFLM_ARENA_BYTES = {
    ("cortex-m4f", "mlperf_tiny_ad_autoencoder"): 5_616,
    ("cortex-m4f", "mlperf_tiny_ic_resnet8"): 55_008,
    ("cortex-m4f", "mlperf_tiny_kws_dscnn"): 22_944,
    ("cortex-m4f", "mlperf_tiny_vww_mobilenetv1"): 165_344,
    ("cortex-m55", "mlperf_tiny_ad_autoencoder"): 12_304,
    ("cortex-m55", "mlperf_tiny_ic_resnet8"): 55_040,
    ("cortex-m55", "mlperf_tiny_kws_dscnn"): 27_472,
    ("cortex-m55", "mlperf_tiny_vww_mobilenetv1"): 165_408,
}


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize(("target", "name"), TFLM_ARENA_BYTES)
def test_ram_of_quantized_models_with_float_inputs(
    target: str, name: str, models: Path, tmp_path: Path
) -> None:
    needs_tools(target)
    path = models / f"{name}_qdq8.onnx"
    most = TFLM_ARENA_BYTES[target, name] * 9 // 10
    made = compile_model(
        path,
        target=target,
        output=tmp_path / "out",
        io_memory="arena",
        limits={"ram_bytes": most},
        verify="require",
    )
    assert json.loads(made.verification_path.read_text())["status"] == "passed"
    assert all(tensor.place for tensor in (*made.manifest.inputs, *made.manifest.outputs))


def test_kernels_are_checked_one_by_one_in_the_firmware(artifact: Artifact) -> None:
    model = load_model(artifact.path.parent / "net.onnx")
    result = check(artifact.path, model, per_kernel=True)
    assert result.passed, result.reason
    assert len(result.kernels) == len(artifact.report()["kernels"])
    assert all(kernel.passed for kernel in result.kernels)


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("name", ["stack_bytes", "instruction_count"])
def test_limits_that_only_a_run_shows(name: str, tmp_path: Path) -> None:
    needs_tools("cortex-m4f")
    path = save(conv_net_model(), tmp_path / "net.onnx")

    def build(limit: int) -> None:
        compile_model(path, target="cortex-m4f", output=tmp_path / "out", limits={name: limit})

    with pytest.raises(LimitError) as refused:
        build(64)
    needed = int(refused.value.fix.partition(f"--limit {name}=")[2].partition(",")[0])
    assert f"the limit {name} is 64" in refused.value.why
    assert not (tmp_path / "out").exists()
    build(needed)
    with pytest.raises(LimitError):
        build(needed - 1)


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("target", MICROCONTROLLERS)  # a minute for one without an FPU
@pytest.mark.parametrize("name", MODELS)
def test_models_pass_on_every_board(name: str, target: str, models: Path, tmp_path: Path) -> None:
    needs_tools(target)
    made = compile_model(models / f"{name}.onnx", target=target, output=tmp_path / "out")
    assert json.loads(made.verification_path.read_text())["status"] == "passed"


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("cortex-m4f", "mnist_dscnn_f32"),
        ("cortex-m4f", "mlperf_tiny_ad_autoencoder_f32"),
        ("cortex-m33", "mnist_dscnn_f32"),
        ("rv32imac", "mlperf_tiny_ad_autoencoder_f32"),
        ("cortex-m0plus", "mlperf_tiny_ad_autoencoder_f32"),
    ],
)
def test_models_pass_with_kernels_by_llvm(
    target: str, name: str, models: Path, tmp_path: Path
) -> None:
    needs_tools(target)
    spec = load_target(target)
    spec = replace(spec, toolchain=replace(spec.toolchain, kernels="llvm"))
    made = compile_model(models / f"{name}.onnx", target=spec, output=tmp_path / "out")
    assert json.loads(made.verification_path.read_text())["status"] == "passed"
    assert list((made.path / "src/kernels").glob("*.o"))


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"),  # instructions for each multiply-accumulate, a little above what is measured
    [("mlperf_tiny_kws_dscnn", 0.60), ("mlperf_tiny_ic_resnet8", 0.57)],
)
def test_helium_computes_four_numbers_at_a_time(
    name: str, most: float, models: Path, tmp_path: Path
) -> None:
    needs_tools("cortex-m55")
    path = models / f"{name}_f32.onnx"
    made = compile_model(path, target="cortex-m55", output=tmp_path / "out")
    totals = made.report()["totals"]
    assert json.loads(made.verification_path.read_text())["status"] == "passed"
    assert totals["arena_bytes"] <= ARENA_OVER_LOWER_BOUND * totals["lower_bound_bytes"]
    with open_runner(made) as runner:
        counted = runner.run([draw_inputs(load_model(path), 0)], count=True)
    assert counted.instruction_count is not None
    assert counted.instruction_count <= most * totals["macs"]


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("name", MLPERF_TINY)
def test_arena_and_firmware_of_mlperf_tiny(name: str, models: Path, tmp_path: Path) -> None:
    needs_tools("cortex-m4f")
    path = models / f"{name}_f32.onnx"
    made = compile_model(path, target="cortex-m4f", output=tmp_path / "out", verify="skip")
    totals = made.report()["totals"]
    assert totals["arena_bytes"] <= ARENA_OVER_LOWER_BOUND * totals["lower_bound_bytes"]
    with open_runner(made) as runner:
        counted = runner.run([draw_inputs(load_model(path), 0)], count=True)
        assert isinstance(runner, FirmwareRunner)
        firmware = runner.firmware_bytes - totals["weight_bytes"]
    assert firmware <= MOST_FIRMWARE_BYTES
    if name == "mlperf_tiny_ic_resnet8":
        assert counted.instruction_count is not None
        assert counted.instruction_count <= 2.2 * totals["macs"]  # measured 2.07; asked for 4.0
