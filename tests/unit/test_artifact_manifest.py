"""Artifacts that are damaged are refused, and say how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.artifact.manifest import read_artifact
from compiler.errors import ArtifactError
from tests import handmade

_COMPILE_AGAIN = "  fix: compile the model again, or copy the folder once more"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.build(tmp_path_factory.mktemp("original") / "kws").path


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "kws"))


def _refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder)
    return str(caught.value)


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_damaged_library(folder: Path) -> None:
    library = folder / "lib" / "libkws.so"
    data = bytearray(library.read_bytes())
    data[5000] ^= 1
    library.write_bytes(data)
    first, why, fix = _refusal(folder).splitlines()
    assert first == f"{folder}: lib/libkws.so is damaged"
    assert why.startswith("  why: its sha256 is ")
    assert fix == _COMPILE_AGAIN


def test_missing_library(folder: Path) -> None:
    (folder / "lib" / "libkws.so").unlink()
    assert _refusal(folder) == (
        f"{folder}: lib/libkws.so cannot be read\n"
        "  why: No such file or directory; the artifact is incomplete\n"
        "  fix: compile the model again, or copy the whole folder"
    )


def test_damaged_report(folder: Path) -> None:
    artifact = read_artifact(folder)
    artifact.report_path.write_text("{}", encoding="ascii")
    with pytest.raises(ArtifactError, match=r"report\.json is damaged"):
        artifact.report()


def test_no_manifest(tmp_path: Path) -> None:
    assert _refusal(tmp_path) == (
        f"{tmp_path} is not an artifact\n"
        "  why: manifest.json cannot be read: No such file or directory\n"
        "  fix: give the folder that `tunesmith compile -o` wrote"
    )


def test_truncated_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8")[:500], encoding="utf-8")
    first, why, fix = _refusal(folder).splitlines()
    assert first == f"{folder}: manifest.json is damaged"
    assert why.startswith("  why: it is not JSON: ")
    assert fix == _COMPILE_AGAIN


def test_manifest_that_is_not_text(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    assert "manifest.json is damaged" in _refusal(folder)


def test_unknown_schema_version(folder: Path) -> None:
    _edit(folder, lambda data: data.update(schema_version=99))
    assert _refusal(folder) == (
        f"{folder}: schema version 99 of the manifest is not known\n"
        "  why: this tunesmith reads version 1\n"
        "  fix: compile the model again, or use the tunesmith that wrote the artifact"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d.pop("format"), 'it does not say "format": "tunesmith-artifact"'),
        (lambda d: d.pop("memory"), "top level has no key `memory`"),
        (lambda d: d["memory"].pop("arena_bytes"), "`memory` has no key `arena_bytes`"),
        (lambda d: d["memory"].update(arena_bytes="1"), "`arena_bytes` is not of type int"),
        (lambda d: d["memory"].update(arena_bytes=True), "`arena_bytes` is not of type int"),
        (lambda d: d.update(inputs={}), "`inputs` is not of type list"),
        (lambda d: d.update(model=3), "`model` is not an object"),
        (lambda d: d.update(surprise=3), "top level has an unknown key `surprise`"),
        (lambda d: d.update(files=[]), "`files` is not of type dict"),
    ],
)
def test_wrong_manifest(folder: Path, change: Callable[[dict[str, Any]], object], why: str) -> None:
    _edit(folder, change)
    assert _refusal(folder).splitlines()[1] == f"  why: {why}"
