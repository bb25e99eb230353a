"""A GPU library without a GPU: what its driver calls are, shown by a mock driver."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compiler.artifact.manifest import Artifact
from compiler.errors import ArtifactError, OtherMachineError
from compiler.library import load
from compiler.measure.profile import profile
from compiler.pipeline import compile as compile_model
from tests.mock_cuda import build_mock, expected_launches, run_with_mock
from tests.onnx_models import conv_net_model, save

pytestmark = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")

LOAD = "import compiler, numpy as np\nlibrary = compiler.load(path)\n"
RUN = (
    "inputs = {s.name: np.ones(s.shape, s.array_dtype) for s in library.inputs}\n"
    "library.run(inputs)\n"
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("gpu")
    path = save(conv_net_model(), folder / "net.onnx")
    return compile_model(path, target="cuda-sm80", output=folder / "out", jobs=2)


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_mock(tmp_path_factory.mktemp("mock"))


@pytest.fixture
def calls(artifact: Artifact, mock: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """What the driver was called for while a script ran."""

    def of(script: str) -> list[str]:
        done = run_with_mock(script, artifact, mock, tmp_path / "log")
        assert done.returncode == 0, done.stderr
        return (tmp_path / "log").read_text().splitlines()

    return of


def test_launches_are_the_program_in_order(
    artifact: Artifact, calls: Callable[[str], list[str]]
) -> None:
    found = [line for line in calls(LOAD + RUN) if line.startswith("cuLaunchKernel")]
    assert found == expected_launches(artifact)
    report = artifact.report()
    assert len(found) == report["totals"]["launches"] >= len(report["kernels"]) > 0


def test_a_run_is_captured_once_and_the_graph_is_reused(
    artifact: Artifact, calls: Callable[[str], list[str]]
) -> None:
    lines = calls(LOAD + 3 * RUN)
    captured = [line.removeprefix("captured ") for line in lines if line.startswith("captured cuL")]
    assert captured == expected_launches(artifact)
    assert lines.count("cuGraphInstantiate 0") == 1
    assert [line for line in lines if line.startswith("cuGraphLaunch")] == 2 * [
        "cuGraphLaunch stream 7"
    ]
    assert sum(line.startswith("cuLaunchKernel") for line in lines) == len(captured)


def test_weights_are_uploaded_once(artifact: Artifact, calls: Callable[[str], list[str]]) -> None:
    lines = calls(LOAD + 3 * RUN)
    weights = artifact.manifest.memory.weight_bytes
    assert [line for line in lines if line.startswith("cuMemcpyHtoD ")] == [
        f"cuMemcpyHtoD {weights}"
    ]
    inputs = [
        f"cuMemcpyHtoDAsync {tensor.size_bytes} stream 7" for tensor in artifact.manifest.inputs
    ]
    assert [line for line in lines if line.startswith("cuMemcpyHtoDAsync")] == 3 * inputs


def test_everything_is_given_back(calls: Callable[[str], list[str]]) -> None:
    lines = calls(LOAD + 2 * RUN + "library.close()\n")
    pairs = {
        "cuMemAlloc": "cuMemFree",
        "cuModuleLoadData": "cuModuleUnload",
        "cuStreamCreate": "cuStreamDestroy",
        "cuDevicePrimaryCtxRetain": "cuDevicePrimaryCtxRelease",
        "cuGraphInstantiate": "cuGraphExecDestroy",
        "cuStreamEndCapture": "cuGraphDestroy",
    }
    for taken, given in pairs.items():
        count = [sum(line.split()[0] == name for line in lines) for name in (taken, given)]
        assert count[0] == count[1] > 0, taken


DEVICE_POINTERS = LOAD + (
    "import ctypes\n"
    "from compiler.library_arrays import pointers\n"
    "from compiler import library_abi as abi\n"
    "driver, model = ctypes.CDLL('libcuda.so.1'), library._model\n"
    "def device(size):\n"
    "    p = ctypes.c_uint64()\n"
    "    driver.cuMemAlloc_v2(ctypes.byref(p), ctypes.c_size_t(size))\n"
    "    return p.value\n"
    "sizes = [np.zeros(s.shape, s.array_dtype).nbytes for s in library.inputs + library.outputs]\n"
    "where = [device(size) for size in sizes]\n"
    "ins = (ctypes.c_void_p * 8)(*where[: len(library.inputs)])\n"
    "outs = (ctypes.c_void_p * 8)(*where[len(library.inputs) :])\n"
    "options = abi.Options(struct_size=ctypes.sizeof(abi.Options), stream={stream})\n"
    "session = ctypes.c_void_p()\n"
    "assert model.create(ctypes.byref(session), ctypes.byref(options)) == 0\n"
    "assert model.session_run(session, ins, outs) == 0\n"
)


def test_device_pointers_are_copied_on_the_device(
    artifact: Artifact, calls: Callable[[str], list[str]]
) -> None:
    lines = calls(DEVICE_POINTERS.format(stream="None"))
    assert not any("Async" in line and "DtoD" not in line for line in lines)
    manifest = artifact.manifest
    sizes = [tensor.size_bytes for tensor in (*manifest.inputs, *manifest.outputs)]
    copies = [line for line in lines if line.startswith("cuMemcpyDtoDAsync")]
    assert copies == [f"cuMemcpyDtoDAsync {size} stream 7" for size in sizes]
    assert lines[-1] == "cuStreamSynchronize 7"


def test_a_callers_stream_is_used_and_not_waited_for(calls: Callable[[str], list[str]]) -> None:
    lines = calls(DEVICE_POINTERS.format(stream="9"))
    assert sum("stream 9" in line for line in lines) > 0
    assert not any(line.startswith("cuStreamSynchronize") for line in lines)


def test_an_older_gpu_is_refused(artifact: Artifact, mock: Path, tmp_path: Path) -> None:
    done = run_with_mock(LOAD, artifact, mock, tmp_path / "log", capability="75")
    assert "needs an NVIDIA GPU of compute capability 8.0 or newer" in done.stderr


def test_no_gpu_behind_the_driver_is_refused(
    artifact: Artifact, mock: Path, tmp_path: Path
) -> None:
    done = run_with_mock(LOAD, artifact, mock, tmp_path / "log", devices="0")
    assert "needs an NVIDIA GPU\n" in done.stderr


def test_device_code_that_does_not_load_is_refused(
    artifact: Artifact, mock: Path, tmp_path: Path
) -> None:
    done = run_with_mock(LOAD + RUN, artifact, mock, tmp_path / "log", fail="cuModuleLoadData")
    assert "the GPU's driver refused to load the library's device code" in done.stderr
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines.count("cuMemFree") == 2
    assert "cuDevicePrimaryCtxRelease 0" in lines


@pytest.mark.skipif(
    Path("/proc/driver/nvidia").exists(), reason="this machine has an NVIDIA driver"
)
def test_without_a_driver_the_loader_says_what_is_missing(artifact: Artifact) -> None:
    with pytest.raises(OtherMachineError) as caught:
        load(artifact.path)
    assert str(caught.value) == (
        f"{artifact.path} needs libcuda.so.1, the NVIDIA driver\n"
        "  why: it was compiled for the GPUs of cuda-sm80; this machine does not offer that\n"
        "  fix: run it on a machine with such a GPU and its driver, or compile the model with "
        "--target host"
    )


@pytest.mark.skipif(
    Path("/proc/driver/nvidia").exists(), reason="this machine has an NVIDIA driver"
)
def test_without_a_driver_create_returns_an_error_and_the_check_is_not_run(
    artifact: Artifact, tmp_path: Path
) -> None:
    verification = json.loads(artifact.verification_path.read_text())
    assert verification["status"] == "not run"
    assert "libcuda.so.1, the NVIDIA driver" in verification["reason"]
    program = tmp_path / "example"
    static = str(artifact.static_library_path)
    example = str(artifact.path / "examples" / "main.c")
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{artifact.path}/include"]
    subprocess.run([*command, "-o", str(program), example, static, "-ldl"], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(": no such device\n")


def test_a_profile_is_refused(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError) as caught:
        profile(artifact.path)
    assert caught.value.why == (
        "cuda-sm80 is a GPU, and the clocks stand between calls of the processor"
    )


def test_only_session_functions_are_shown(artifact: Artifact) -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(artifact.library_path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    prefix = artifact.manifest.symbol_prefix
    names = [line.split()[-1].removeprefix(f"{prefix}_") for line in listing.splitlines()]
    assert sorted(names) == ["create", "destroy", "model", "session_run"]
    needed = subprocess.run(
        ["readelf", "-d", str(artifact.library_path)], capture_output=True, text=True, check=True
    ).stdout
    assert "libcuda" not in needed


def test_report_says_what_each_launch_takes_of_the_gpu(artifact: Artifact) -> None:
    launches = [one for kernel in artifact.report()["kernels"] for one in kernel["launches"]]
    assert all(0 < launch["registers"] <= 255 for launch in launches)
    assert all(launch["shared_bytes"] <= 49_152 for launch in launches)
    assert all(launch["spill_bytes"] == 0 for launch in launches)
    assert all(np.prod(launch["block"]) <= 1_024 for launch in launches)


def test_same_input_same_bytes(artifact: Artifact, tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    again = compile_model(path, target="cuda-sm80", output=tmp_path / "again", verify="skip")
    assert again.manifest.files == artifact.manifest.files
