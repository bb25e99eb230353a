"""Artifact folders: what is in them, the same bytes every time, all or nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.artifact import write as write_module
from compiler.artifact.library_form import library_form
from compiler.artifact.link import interface_symbols
from compiler.artifact.manifest import Artifact, check_digest, read_artifact
from compiler.errors import ArtifactError, CompilerError, ToolchainError
from compiler.toolchain import find_toolchain
from tests import handmade


@pytest.fixture(scope="module")
def kws(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return handmade.build(tmp_path_factory.mktemp("kws") / "kws-host")


def _tool(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_written_artifact_is_read_back(kws: Artifact) -> None:
    assert read_artifact(kws.path) == kws
    assert kws.manifest.inputs[0].c_name == "in_put"
    assert kws.manifest.outputs[0].quantization is not None
    assert kws.manifest.provenance.stages == ("legalize", "fuse")


def test_every_file_has_its_digest(kws: Artifact) -> None:
    found = {
        path.relative_to(kws.path).as_posix() for path in kws.path.rglob("*") if path.is_file()
    }
    assert found == {*kws.manifest.files, "manifest.json"}
    for name in kws.manifest.files:
        check_digest(kws, name)


def test_shared_library_shows_only_the_interface(kws: Artifact) -> None:
    listed = _tool("nm", "-D", "--defined-only", kws.library_path)
    shown = sorted(line.split()[-1] for line in listed.splitlines())
    assert shown == sorted(interface_symbols("kws"))


def test_shared_library_needs_only_libc_libm_and_libpthread(kws: Artifact) -> None:
    lines = _tool("readelf", "-dW", kws.library_path).splitlines()
    needed = {line.split("[")[1].split(".so")[0] for line in lines if "(NEEDED)" in line}
    assert needed
    assert needed <= {"libc", "libm", "libpthread"}
    assert not any("RPATH" in line or "RUNPATH" in line or "TEXTREL" in line for line in lines)


def test_every_global_symbol_of_the_static_library_has_the_prefix(kws: Artifact) -> None:
    listed = _tool("nm", "--defined-only", "--extern-only", kws.static_library_path)
    symbols = [line.split()[-1] for line in listed.splitlines() if len(line.split()) == 3]
    assert "kws__fixed_name_helper" in symbols
    assert all(symbol.startswith("kws_") for symbol in symbols)


def test_report_names_every_kernel_and_value(kws: Artifact) -> None:
    report = kws.report()
    assert [kernel["operator"] for kernel in report["kernels"]][:2] == ["MatMul+Add"] * 2
    last = report["kernels"][2]
    assert [phase["symbol"] for phase in last["phases"]] == ["kws__center_0", "kws__center_1"]
    assert last["scratch_bytes"] == [256]
    assert last["bytes"] == 2 * 64 * 64 * 4
    assert report["totals"]["macs"] == 3 * 64**3
    assert report["totals"]["weight_bytes"] == 2 * 16384 + 256  # the bias is there once
    assert report["totals"]["library_bytes"] == kws.library_path.stat().st_size
    buffer, constant = report["values"][4], report["values"][8]
    assert (buffer["region"], buffer["offset"] % 64) == ("arena", 0)
    assert constant["offset"] == report["values"][2]["offset"]
    assert report["copies"] == [{"source": 0, "destination": 7}]


_BUILD_ELSEWHERE = """
import sys
from pathlib import Path
from tests import handmade
handmade.build(Path(sys.argv[1]), jobs=int(sys.argv[2]))
"""


def test_same_bytes_from_another_folder_hash_seed_and_number_of_jobs(
    kws: Artifact, tmp_path: Path
) -> None:
    other = tmp_path / "a longer way" / "to another name"
    root = Path(__file__).parents[2]
    subprocess.run(
        (sys.executable, "-c", _BUILD_ELSEWHERE, other, "7"),
        cwd=root,
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(root), "CPATH": "/nowhere"},
        check=True,
    )
    names = sorted(p.relative_to(kws.path) for p in kws.path.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    for name in names:
        assert (other / name).read_bytes() == (kws.path / name).read_bytes(), name


def test_no_path_of_the_build_is_in_any_file(kws: Artifact) -> None:
    for path in kws.path.rglob("*"):
        if path.is_file():
            assert os.fsencode(kws.path.parent) not in path.read_bytes(), path


def test_weights_as_c_source_give_the_same_numbers(tmp_path: Path, kws: Artifact) -> None:
    from compiler.library import load

    artifact = handmade.build(tmp_path / "kws-c", weights="c")
    assert (artifact.path / "src" / "kws_weights.c").exists()
    x = handmade.sample()
    with load(artifact.path) as library, load(kws.path) as other:
        assert (library.run({"in:put": x})["y"] == other.run({"in:put": x})["y"]).all()


def test_older_artifact_is_replaced(tmp_path: Path) -> None:
    first = handmade.build(tmp_path / "kws")
    second = handmade.build(tmp_path / "kws", seed=5)
    assert read_artifact(tmp_path / "kws") == second
    assert first.manifest.files != second.manifest.files
    assert [path.name for path in tmp_path.iterdir()] == ["kws"]


@pytest.mark.parametrize("content", [None, "{}", "[", '{"format": "other"}'])
def test_foreign_folder_is_refused(tmp_path: Path, content: str | None) -> None:
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(b"precious")
    if content is not None:
        (mine / "manifest.json").write_text(content, encoding="ascii")
    with pytest.raises(ArtifactError) as caught:
        handmade.build(mine)
    assert str(caught.value) == (
        f"{mine} exists and is not an artifact\n"
        "  why: only an empty folder or an older artifact is replaced\n"
        "  fix: choose another output folder, or remove this one"
    )
    assert (mine / "holiday.jpg").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up at the last file, when everything else is written."""
    write = write_module.write_file

    def write_until_full(path: Path, data: bytes | str) -> None:
        if path.name == "manifest.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(write_module, "write_file", write_until_full)
    destination = tmp_path / "new" / "kws"
    with pytest.raises(ArtifactError) as caught:
        handmade.build(destination)
    assert str(caught.value) == (
        f"{destination} cannot be written\n"
        "  why: No space left on device\n"
        "  fix: free some space, or choose an output folder that this user may write to"
    )
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_the_older_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = handmade.build(tmp_path / "kws")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write_module, "link_libraries", fail)
    with pytest.raises(KeyboardInterrupt):
        handmade.build(tmp_path / "kws", seed=3)
    assert read_artifact(tmp_path / "kws") == artifact
    assert [path.name for path in tmp_path.iterdir()] == ["kws"]


def test_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="ascii")
    with pytest.raises(ArtifactError, match="cannot be written"):
        handmade.build(tmp_path / "file" / "kws")


def _tool_that_says(folder: Path, stderr: str) -> Path:
    """Return a compiler that answers questions, and fails with `stderr` at work."""
    tool = folder / "broken-cc"
    tool.write_text(
        '#!/bin/sh\ncase "$1" in --version) echo broken 1.0;; -print-prog-name=ar) echo ar;;\n'
        f"*) printf '{stderr}' >&2; exit 1;; esac\n",
        encoding="ascii",
    )
    tool.chmod(0o755)
    return tool


def test_compiler_error_is_shown_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = _tool_that_says(tmp_path, "kws.c:7: stdint.h: No such file\\n" * 20)
    monkeypatch.setenv("CC", str(tool))
    with pytest.raises(ToolchainError) as caught:
        handmade.build(tmp_path / "out" / "kws")
    lines = str(caught.value).splitlines()
    assert lines[0] == "`broken-cc` failed on kws.c"
    assert lines[1] == "  why: kws.c:7: stdint.h: No such file"
    assert len(lines) == 10  # eight of the compiler's
    assert lines[-1] == (
        "  fix: check that the compiler makes code for the target and has its C library; "
        "CC names another one"
    )
    assert not (tmp_path / "out").exists()


def test_disk_that_is_full_for_the_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = _tool_that_says(tmp_path, "fatal: x.o: No space left on device\\n")
    monkeypatch.setenv("CC", str(tool))
    with pytest.raises(ArtifactError) as caught:
        handmade.build(tmp_path / "kws")
    assert str(caught.value) == (
        "the disk is full\n"
        "  why: `broken-cc` could not write its output: No space left on device\n"
        "  fix: free some space or choose another output folder"
    )


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError) as caught:
        find_toolchain()
    assert str(caught.value) == (
        "no C compiler: `cc` was not found\n"
        "  why: the target names it to build the library, and it is not on the PATH\n"
        "  fix: install one (Debian and Ubuntu: apt-get install gcc libc6-dev), or set CC to "
        "the command of one that is installed"
    )


def test_compiler_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-cc -m64")
    with pytest.raises(ToolchainError) as caught:
        find_toolchain()
    assert caught.value.what == "no C compiler: `no-such-cc -m64` was not found"
    assert caught.value.why.startswith("CC names it")


def test_no_archiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = _tool_that_says(tmp_path, "")
    tool.write_text(tool.read_text(encoding="ascii").replace("echo ar;", "echo no-such-ar;"))
    monkeypatch.setenv("CC", str(tool))
    with pytest.raises(ToolchainError) as caught:
        find_toolchain()
    assert str(caught.value) == (
        "no archiver: `no-such-ar` was not found\n"
        f"  why: `{tool}` names it to make the static library\n"
        "  fix: install binutils (Debian and Ubuntu: apt-get install binutils)"
    )


def test_triple_of_another_system_is_refused() -> None:
    with pytest.raises(CompilerError) as caught:
        library_form("x86_64-pc-windows-msvc")
    assert str(caught.value) == (
        "no library can be linked for the triple x86_64-pc-windows-msvc\n"
        "  why: shared libraries are made for Linux, in ELF form, and for macOS, in Mach-O form\n"
        "  fix: choose a target whose triple names linux or macos"
    )


def test_manifest_is_sorted_json(kws: Artifact) -> None:
    text = (kws.path / "manifest.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert text == json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
