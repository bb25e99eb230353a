"""The results that the repository shows are those of its results files."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def _untuned() -> ModuleType:
    path = ROOT / "benchmarks" / "untuned.py"
    spec = importlib.util.spec_from_file_location("untuned", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_there_are_results() -> None:
    assert RESULTS


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_table_is_made_of_the_results(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    table = _untuned().table(document)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == table
    assert {one["settings"]["records"] for one in document["results"]} == {"none"}


def test_readme_shows_a_table_of_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = [path.with_suffix(".md").read_text(encoding="utf-8") for path in RESULTS]
    assert any(table.split("\n\n")[0] in readme for table in tables)
