"""Artifacts for macOS, made here: what is in the libraries, and that they are refused here."""

from __future__ import annotations

import json
import platform
import struct
import sys
from pathlib import Path

import pytest

from compiler import library_abi
from compiler.artifact.library_form import MACH
from compiler.artifact.link import interface_symbols, link_libraries
from compiler.artifact.manifest import Artifact
from compiler.cli import exit_code
from compiler.errors import ArtifactError, OtherMachineError, ToolchainError
from compiler.library import load
from compiler.mach_object import is_mach, shown_symbols, symbols, undefined_symbols
from compiler.pipeline import compile as compile_model
from compiler.target_spec import load_target, missing_cpu_features, runs_here
from compiler.toolchain import find_toolchain
from tests.macos import (
    ARM64,
    BUILD_VERSION,
    DYLIB,
    ID_DYLIB,
    LOAD_DYLIB,
    MACOS_CC,
    archive_members,
    command_data,
    compile_for_macos,
    exports,
    library_name,
    link_for_macos,
    wrong_pages,
)
from tests.onnx_models import conv_net_model, save

pytest.importorskip("ziglang")

INTERFACE = set(interface_symbols("net"))
# zig's linker shows its names of the library's own start.
BY_LINKER = {"_mh_dylib_header", "__dso_handle"}
LIBC = {
    *("calloc", "free", "posix_memalign", "memcpy", "memset", "bzero", "__memcpy_chk"),
    *("__memset_chk", "clock_gettime", "sched_yield", "sysctlbyname", "dyld_stub_binder"),
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("apple-m1")
    path = save(conv_net_model(), folder / "net.onnx")
    return compile_model(path, target="apple-m1", output=folder / "out", jobs=2)


@pytest.fixture(scope="module")
def shared(artifact: Artifact) -> bytes:
    return artifact.library_path.read_bytes()


def test_shared_library_is_for_macos_12_on_arm(artifact: Artifact, shared: bytes) -> None:
    assert artifact.manifest.shared_library == "lib/libnet.dylib"
    _, machine, _, kind = struct.unpack_from("<4I", shared)
    assert (machine, kind) == (ARM64, DYLIB)
    (itself,) = command_data(shared, ID_DYLIB)
    assert library_name(itself) == "@rpath/libnet.dylib"
    assert [library_name(words) for words in command_data(shared, LOAD_DYLIB)] == [
        "/usr/lib/libSystem.B.dylib"
    ]
    (version,) = command_data(shared, BUILD_VERSION)
    _, _, system, oldest = struct.unpack_from("<4I", version)
    assert (system, oldest) == (1, 12 << 16)  # macOS 12.0


def test_shared_library_shows_the_interface_only(shared: bytes) -> None:
    assert set(exports(shared)) == {f"_{name}" for name in INTERFACE | BY_LINKER}
    assert set(shown_symbols(shared)) == INTERFACE | BY_LINKER


def test_shared_library_needs_the_system_only(shared: bytes) -> None:
    needed = set(undefined_symbols(shared))
    assert {name for name in needed if not name.startswith("pthread_")} <= LIBC
    assert "sysctlbyname" in needed


def test_signature_fits_the_bytes(shared: bytes) -> None:
    assert wrong_pages(shared) == []
    changed = bytearray(shared)
    changed[20_000] ^= 1  # in the second page of 16 KB
    assert wrong_pages(bytes(changed)) == [1]


def test_static_library_s_symbols_have_the_model_s_name(artifact: Artifact) -> None:
    members = list(archive_members(artifact.static_library_path.read_bytes()))
    index, *objects = members
    assert index[0].startswith("__.SYMDEF")
    assert all(is_mach(code) for _, code in objects)
    defined = {
        symbol.c_name
        for _, code in objects
        for symbol in symbols(code)
        if symbol.is_global and not symbol.is_undefined
    }
    assert {name for name in defined if not name.startswith("net_")} == set()
    assert "net__weights" in defined
    assert {name for _, code in objects for name in shown_symbols(code)} == INTERFACE


def test_weights_are_aligned_constants(artifact: Artifact, shared: bytes) -> None:
    weights = (artifact.path / "src" / "net_weights.bin").read_bytes()
    place = shared.index(weights)
    assert place % 64 == 0  # __TEXT begins with the file and is loaded at a page
    assert shared.count(weights) == 1


def test_report_counts_machine_code(artifact: Artifact) -> None:
    kernels = artifact.report()["kernels"]
    assert all(kernel["code_bytes"] % 4 == 0 and kernel["code_bytes"] > 0 for kernel in kernels)
    totals = artifact.report()["totals"]
    assert totals["code_bytes"] < totals["library_bytes"]
    assert totals["library_bytes"] == artifact.library_path.stat().st_size


@pytest.mark.parametrize("library", ["net.a", "net.dylib"])
def test_example_links_with_both_libraries(
    library: str, artifact: Artifact, tmp_path: Path
) -> None:
    words = (
        str(artifact.path / "examples" / "main.c"),
        str(artifact.path / "lib" / f"lib{library}"),
    )
    include = f"-I{artifact.path / 'include'}"
    link_for_macos(tmp_path, "-std=c99", include, *words, "-o", "example")
    needed = command_data((tmp_path / "example").read_bytes(), LOAD_DYLIB)
    names = {library_name(words) for words in needed} - {"/usr/lib/libSystem.B.dylib"}
    assert names == ({"@rpath/libnet.dylib"} if library == "net.dylib" else set())


def test_cmake_project_names_the_dylib(artifact: Artifact) -> None:
    text = (artifact.path / "CMakeLists.txt").read_text()
    assert "/lib/libnet.dylib\n    IMPORTED_SONAME @rpath/libnet.dylib)" in text


def test_same_bytes_in_another_folder(artifact: Artifact, tmp_path: Path) -> None:
    other = tmp_path / "deeper" / "other"
    other.parent.mkdir()
    compile_model(artifact.path.parent / "net.onnx", target="apple-m1", output=other, verify="skip")
    files = [
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (artifact.path, other)
    ]
    del files[0][Path("verification.json")]
    assert files[0] == files[1]
    assert not [name for name, data in files[1].items() if str(tmp_path).encode() in data]


def test_it_is_not_run_here_and_says_why(artifact: Artifact) -> None:
    verification = json.loads(artifact.verification_path.read_text())
    assert verification["status"] == "not run"
    assert verification["reason"] == (
        "the library was compiled for aarch64-apple-macos12.0: "
        f"it needs macOS, this machine is {platform.machine()} with {sys.platform}"
    )


def test_target_check_builds_and_says_that_nothing_here_runs_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(["targets", "check", "apple-m1", "--json"]) == 0
    (trial,) = json.loads(capsys.readouterr().out)
    assert trial["status"] == "not run"
    assert "it needs macOS, this machine is" in trial["reason"]
    assert trial["toolchain"].startswith("zig ")


def test_it_is_refused_at_load(artifact: Artifact) -> None:
    with pytest.raises(OtherMachineError) as caught:
        load(artifact.path)
    assert str(caught.value) == (
        f"{artifact.path} was compiled for aarch64-apple-macos12.0\n"
        f"  why: it needs macOS, this machine is {platform.machine()} with {sys.platform}\n"
        "  fix: compile the model for this machine, or run it where it was compiled for"
    )


def test_a_mac_opens_the_dylib(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_model(path: str, prefix: str) -> library_abi.Model:
        opened.append((Path(path), prefix))
        raise OSError("there is no dyld")

    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(library_abi, "open_model", open_model)
    with pytest.raises(ArtifactError, match=r"lib/libnet\.dylib cannot be loaded"):
        load(artifact.path)
    assert opened == [(artifact.library_path, "net")]


def test_runs_on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    apple, linux = load_target("apple-m1"), load_target("cortex-a53")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert (runs_here(apple), runs_here(linux)) == (True, False)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert (runs_here(apple), runs_here(linux)) == (False, True)
    assert missing_cpu_features(apple) == ()  # it is not a feature that is missing


def test_library_that_shows_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made.o").write_bytes(
        compile_for_macos("int net_other(void) {return 1;}", tmp_path)
    )
    with pytest.raises(ToolchainError) as caught:
        link_libraries(
            tmp_path,
            ["made.o"],
            prefix="net",
            toolchain=find_toolchain(MACOS_CC),
            build=".",
            form=MACH,
            shown=("net_run",),
        )
    assert str(caught.value).startswith(
        "the linker did not make the library that was asked for: net_other, net_run\n"
        "  why: it should show net_run and nothing else\n"
    )
