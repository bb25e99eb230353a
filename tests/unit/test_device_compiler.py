"""nvcc: found or named as missing; what ptxas says is read, and held to the GPU's limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler import device_compiler
from compiler.device_compiler import Nvcc, device_uses, find_device_compiler
from compiler.errors import LimitError, ToolchainError
from compiler.gpu_limits import check_device_limits, spilling
from compiler.nvrtc import compile_ptx, find_nvrtc
from compiler.pipeline import compile as compile_model
from compiler.program import CompiledKernel, DeviceUse, KernelMemory, Launch, ScheduleOutcome
from compiler.target_spec import load_target
from schedules.cuda.threads import gpu_of
from tests.onnx_models import conv_net_model, save

SAID = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 17 registers, used 0 barriers, 376 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
    24 bytes stack frame, 20 bytes spill stores, 28 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8192 bytes smem, 376 bytes cmem[0]
"""
GPU = gpu_of(load_target("cuda-sm80"))


def test_what_ptxas_says_is_read() -> None:
    assert device_uses(SAID) == {
        "first": DeviceUse(registers=17, shared_bytes=0, spill_bytes=0),
        "second": DeviceUse(registers=255, shared_bytes=8_192, spill_bytes=48),
    }


def _kernel(
    use: DeviceUse, *, block: tuple[int, int, int] = (256, 1, 1), grid_y: int = 1
) -> CompiledKernel:
    return CompiledKernel(
        name="k",
        phases=(),
        memory=KernelMemory(),
        schedule=ScheduleOutcome(source="rule", name="gpu-product"),
        object_code=b"",
        code_bytes=0,
        launches=(Launch(symbol="k", grid=(1, grid_y, 1), block=block, arguments=()),),
        device_uses=(use,),
    )


FITS = DeviceUse(registers=255, shared_bytes=49_152, spill_bytes=0)


@pytest.mark.parametrize(
    ("kernel", "what"),
    [
        (_kernel(DeviceUse(registers=256, shared_bytes=0, spill_bytes=0)), "256 registers in a"),
        (_kernel(FITS, block=(288, 1, 1)), "73,440 registers in a block"),
        (
            _kernel(DeviceUse(registers=8, shared_bytes=49_153, spill_bytes=0)),
            "49,153 bytes of shared memory",
        ),
        (
            _kernel(DeviceUse(registers=8, shared_bytes=0, spill_bytes=0), block=(64, 32, 1)),
            "2,048 threads in a block",
        ),
        (_kernel(FITS, grid_y=65_536), "65,536 blocks in a grid's second dimension"),
    ],
)
def test_a_launch_that_the_gpu_would_refuse_is_refused_now(
    kernel: CompiledKernel, what: str
) -> None:
    check_device_limits(GPU, [_kernel(FITS, grid_y=65_535)])
    with pytest.raises(LimitError) as caught:
        check_device_limits(GPU, [kernel])
    assert caught.value.what.startswith(f"kernel `k` needs {what}")
    assert "schedule: gpu-product" in caught.value.why


def test_spills_are_named() -> None:
    spills = _kernel(DeviceUse(registers=255, shared_bytes=0, spill_bytes=48))
    assert spilling([_kernel(FITS), spills]) == (("k", 48),)


def test_nvcc_in_a_wheel_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvcc = tmp_path / "nvidia" / "cu13" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = find_device_compiler()
    assert isinstance(found, Nvcc)
    assert found.path == str(nvcc)
    assert found.version == "Cuda compilation tools, release 13.0, V13.0.88"


@pytest.fixture
def without_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(device_compiler, "_in_a_wheel", lambda: None)


@pytest.mark.usefixtures("without_nvcc")
def test_a_missing_nvcc_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_compiler, "find_nvrtc", lambda: None)
    path = save(conv_net_model(), tmp_path / "net.onnx")
    with pytest.raises(ToolchainError) as caught:
        compile_model(path, target="cuda-sm80", output=tmp_path / "out")
    assert str(caught.value) == (
        "no CUDA compiler: `nvcc` was not found\n"
        "  why: device code for a GPU is made by it, or by the library NVRTC; neither is "
        "installed, for the machine or as a Python package\n"
        "  fix: install the CUDA toolkit, or `pip install nvidia-cuda-nvcc`"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(find_nvrtc() is None, reason="needs NVRTC (pip install nvidia-cuda-nvrtc)")
@pytest.mark.usefixtures("without_nvcc")
def test_without_nvcc_the_library_holds_ptx(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    steps: list[str] = []
    artifact = compile_model(path, target="cuda-sm80", output=tmp_path / "out", report=steps.append)
    (image,) = (artifact.path / "src").glob("*_device.fatbin")
    ptx = image.read_bytes()
    assert ptx.endswith(b"\0")
    assert b".target sm_80" in ptx
    launches = [one for kernel in artifact.report()["kernels"] for one in kernel["launches"]]
    for launch in launches:
        assert f".entry {launch['symbol']}(".encode() in ptx
        assert "registers" not in launch
    assert "no ptxas: what the kernels take of the GPU was not checked" in steps
    assert artifact.manifest.provenance.tool_versions["nvcc"].startswith("NVRTC ")


@pytest.mark.skipif(find_nvrtc() is None, reason="needs NVRTC (pip install nvidia-cuda-nvrtc)")
def test_what_nvrtc_refuses_is_shown() -> None:
    nvrtc = find_nvrtc()
    assert nvrtc is not None
    with pytest.raises(ToolchainError) as caught:
        compile_ptx(nvrtc, "__global__ void k() { nothing(); }", "compute_80")
    assert 'identifier "nothing" is undefined' in caught.value.why
