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
BOARDS = ROOT / "benchmarks" / "results" / "boards.json"
SPEEDS = [path for path in RESULTS if path != BOARDS]


def _benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_there_are_results() -> None:
    assert SPEEDS
    assert BOARDS in RESULTS


def test_table_of_boards_is_made_of_the_results() -> None:
    boards = _benchmark("boards")
    rows = [boards.Row(**row) for row in json.loads(BOARDS.read_text(encoding="utf-8"))]
    assert BOARDS.with_suffix(".md").read_text(encoding="utf-8") == boards.table(rows)
    assert {row.status for row in rows} == {"passed"}


@pytest.mark.parametrize("path", SPEEDS, ids=lambda path: path.stem)
def test_table_is_made_of_the_results(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    table = _benchmark("untuned").table(document)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == table
    assert {one["settings"]["records"] for one in document["results"]} == {"none"}


def test_readme_shows_a_table_of_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = [path.with_suffix(".md").read_text(encoding="utf-8") for path in SPEEDS]
    assert any(table.split("\n\n")[0] in readme for table in tables)
