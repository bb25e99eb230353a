"""The folder for a microcontroller: what is in it, what its code may do, how it is built."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.artifact.board import board_of
from compiler.artifact.manifest import Artifact
from compiler.errors import LimitError, NotRunnableError, ToolchainError
from compiler.runners.open_runner import open_runner
from compiler.target_spec import MemoryRegion, TargetSpec, load_target
from compiler.toolchain import find_toolchain
from tests.bare_library import (
    STRICT,
    bare_artifact,
    host_mcu_spec,
    host_vector_mcu_spec,
    sources,
)
from tests.onnx_models import conv_net_model

FILES = {
    "CMakeLists.txt",
    "board/link.ld",
    "board/startup.c",
    "board/toolchain.cmake",
    "examples/main.c",
    "include/net.h",
    "include/tunesmith.h",
    "lib/libnet.a",
    "manifest.json",
    "report.json",
    "src/net.c",
    "src/net_weights.c",
    "src/runtime/run.c",
    "src/runtime/runtime.h",
    "zephyr/CMakeLists.txt",
    "zephyr/Kconfig",
    "zephyr/module.yml",
    "zephyr/sample/CMakeLists.txt",
    "zephyr/sample/main.c",
    "zephyr/sample/prj.conf",
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return bare_artifact(conv_net_model(), tmp_path_factory.mktemp("bare"))


def _ram(name: str, start: int, size: int, rank: int) -> MemoryRegion:
    return MemoryRegion(
        name=name, kind="ram", start_address=start, size_bytes=size, align_bytes=16, rank=rank
    )


def _flash(name: str, size: int, rank: int) -> MemoryRegion:
    return MemoryRegion(
        name=name,
        kind="flash",
        start_address=rank << 28,
        size_bytes=size,
        align_bytes=16,
        rank=rank,
    )


def test_files_of_the_folder(artifact: Artifact) -> None:
    files = (path for path in artifact.path.rglob("*") if path.is_file())
    found = {path.relative_to(artifact.path).as_posix() for path in files}
    kernels = {name for name in found if name.startswith("src/kernels/")}
    assert found - kernels == FILES
    assert len(kernels) == len({call["kernel"] for call in artifact.report()["kernels"]})
    assert artifact.manifest.shared_library is None
    assert artifact.library_path.name == "libnet.a"


@pytest.mark.parametrize("name", ["artifact", "of_objects"])
def test_library_allocates_nothing_and_writes_no_globals(
    name: str, request: pytest.FixtureRequest
) -> None:
    artifact = request.getfixturevalue(name)
    said = subprocess.run(
        ("nm", str(artifact.library_path)), capture_output=True, text=True, check=True
    ).stdout
    symbols = [line.split()[-2:] for line in said.splitlines() if len(line.split()) >= 2]
    needed = {name for kind, name in symbols if kind == "U"}
    assert not needed & {"malloc", "calloc", "free", "pthread_create", "abort", "printf"}
    assert not {name for kind, name in symbols if kind in "dDbBC"}
    own = {name for kind, name in symbols if kind in "TR"}
    assert all(name.startswith("net_") for name in own)
    shown = {"net_run", "net_model"}
    assert shown <= own
    assert all(name.startswith("net__") for name in own - shown)


def test_a_missing_bare_metal_compiler_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ToolchainError) as refused:
        find_toolchain(("arm-none-eabi-gcc", "-mthumb"))
    assert str(refused.value) == (
        "no C compiler: `arm-none-eabi-gcc -mthumb` was not found\n"
        "  why: the target names it to build the library, and it is not on the PATH\n"
        "  fix: install it (Debian and Ubuntu: apt-get install gcc-arm-none-eabi "
        "libnewlib-arm-none-eabi)"
    )


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sources_and_headers_compile_without_warnings(artifact: Artifact, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    files = [*sources(artifact), "examples/main.c"]
    flags = (*STRICT, "-Iinclude", "-Isrc", "-DTUNESMITH_PREFIX=net", "-fsyntax-only")
    done = subprocess.run(
        (compiler, *flags, *files), cwd=artifact.path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_same_model_same_bytes(artifact: Artifact, of_objects: Artifact, tmp_path: Path) -> None:
    for number, made in enumerate((artifact, of_objects)):
        folder = tmp_path / str(number)
        folder.mkdir()
        spec = host_vector_mcu_spec() if made is of_objects else host_mcu_spec()
        assert bare_artifact(conv_net_model(), folder, spec).manifest.files == made.manifest.files


@pytest.fixture(scope="module")
def of_objects(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return bare_artifact(
        conv_net_model(), tmp_path_factory.mktemp("objects"), host_vector_mcu_spec()
    )


def test_kernels_by_llvm_are_objects_among_the_sources(of_objects: Artifact) -> None:
    found = set(of_objects.manifest.files) | {"manifest.json"}
    kernels = {name for name in found if name.startswith("src/kernels/")}
    assert found - kernels == FILES
    names = {call["kernel"] for call in of_objects.report()["kernels"]}
    assert kernels == {f"src/kernels/{name}.o" for name in names}
    for listed in ("CMakeLists.txt", "zephyr/CMakeLists.txt"):
        assert "/src/kernels/*.o" in (of_objects.path / listed).read_text()
    assert "its kernels' objects" in (of_objects.path / "CMakeLists.txt").read_text()


def test_code_that_does_not_fit_as_objects_is_small_c(of_objects: Artifact, tmp_path: Path) -> None:
    totals = of_objects.report()["totals"]
    limit = totals["code_bytes"] + totals["weight_bytes"] - 1
    spec = host_vector_mcu_spec().with_limits(flash_bytes=limit)
    made = bare_artifact(conv_net_model(), tmp_path, spec)
    assert not list((made.path / "src/kernels").glob("*.o"))
    assert list((made.path / "src/kernels").glob("*.c"))
    names = {call["schedule"]["name"] for call in made.report()["kernels"]}
    assert "small-scalar-conv2d" in names


@pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="needs cmake and arm-none-eabi-gcc",
)
@pytest.mark.parametrize("target", ["cortex-m4f", "cortex-m55"])  # C sources, objects
def test_cmake_builds_the_example(target: str, tmp_path: Path) -> None:
    made = bare_artifact(conv_net_model(), tmp_path, load_target(target))
    build = tmp_path / "build"
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={made.path / 'board/toolchain.cmake'}"
    processor = " ".join(load_target(target).toolchain.cc[1:])
    flags = f"-DCMAKE_C_FLAGS={processor} -Wall -Wextra -pedantic -Werror"
    for command in (
        ("cmake", "-S", str(made.path), "-B", str(build), toolchain, flags),
        ("cmake", "--build", str(build)),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    header = (build / "example.elf").read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[18] == 40  # EM_ARM


def test_arena_fills_the_fast_region_first(tmp_path: Path) -> None:
    spec = host_mcu_spec()
    stack = spec.limits.stack_bytes
    assert stack is not None
    fast = _ram("fast", 0x1000_0000, stack + 2_048, 0)
    slow = _ram("slow", 0x2000_0000, 1 << 20, 1)
    flash = [region for region in spec.memory if region.kind == "flash"]
    spec = replace(spec, memory=(*flash, fast, slow)).with_limits(ram_bytes=None)
    made = bare_artifact(conv_net_model(), tmp_path, spec)
    used = {region.name: region.size_bytes for region in made.manifest.memory.regions}
    assert list(used) == ["fast", "slow"]
    assert 0 < used["fast"] <= 2_048
    assert used["slow"] > 0
    header = (made.path / "include/net.h").read_text()
    assert "#define NET_REGION_COUNT 2" in header
    assert f"#define NET_FAST_BYTES {used['fast']}" in header
    script = (made.path / "board/link.ld").read_text()
    assert "fast (rwx) : ORIGIN = 0x10000000" in script
    assert ".tunesmith_slow (NOLOAD)" in script


def test_weights_that_do_not_fit_beside_the_code_go_to_the_next_flash() -> None:
    spec = replace(host_mcu_spec(), memory=(_flash("near", 40_000, 0), _flash("far", 90_000, 1)))
    board = board_of(replace(spec, memory=(*spec.memory, _ram("sram", 0x2000_0000, 1 << 20, 0))))
    assert board.weights_region(10_000, 10_000) == "near"
    assert board.weights_region(10_000, 20_000) == "far"
    with pytest.raises(LimitError) as refused:
        board.weights_region(10_000, 100_000)
    assert str(refused.value) == (
        "the weights, 100,000 bytes, fit no flash of host-mcu\n"
        "  why: beside 10,000 bytes of code and 16,384 of firmware there is room for: "
        "near 13,616 bytes, far 90,000 bytes\n"
        "  fix: use a target with more flash, or a smaller model"
    )


@pytest.fixture
def saying(artifact: Artifact, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies the artifact and changes words of its runner."""

    def copy(**words: object) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(artifact.path, folder)
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["runner"] |= words
        path.write_text(json.dumps(manifest))
        return folder

    return copy


def test_a_missing_emulator_is_named(saying: Callable[..., Path]) -> None:
    folder = saying(kind="emulator", command=["qemu-system-nowhere", "-machine", "m"])
    with pytest.raises(NotRunnableError) as refused:
        open_runner(folder)
    assert refused.value.what == "no emulator for host-mcu: `qemu-system-nowhere` was not found"
    assert "apt-get install qemu-system" in refused.value.fix


def test_a_missing_compiler_is_named(saying: Callable[..., Path]) -> None:
    folder = saying(kind="emulator", command=["true"], cc=["gcc-for-nothing", "-mthumb"])
    with pytest.raises(NotRunnableError) as refused:
        open_runner(folder)
    assert refused.value.what == "no C compiler: `gcc-for-nothing -mthumb` was not found"


def test_a_stack_without_a_limit_has_room_all_the_same(tmp_path: Path) -> None:
    made = bare_artifact(conv_net_model(), tmp_path, host_mcu_spec().with_limits(stack_bytes=None))
    assert "ts_stack_limit = ts_stack_top - 8192;" in (made.path / "board/link.ld").read_text()


@pytest.mark.parametrize("spec", [load_target(name) for name in ("cortex-m4f", "cortex-m55")])
def test_stack_and_arena_share_the_first_ram(spec: TargetSpec) -> None:
    board = board_of(spec)
    assert board.stack_region == board.regions[[r.kind for r in board.regions].index("ram")].name
    assert board.stack_bytes == spec.limits.stack_bytes
