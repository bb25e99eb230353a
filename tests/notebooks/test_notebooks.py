"""The notebooks run from top to bottom, draw something, and are stored without outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

_FOLDER = Path(__file__).parent.parent.parent / "notebooks"
_NOTEBOOKS = sorted(_FOLDER.glob("*.ipynb"))
# All of them should take 5 minutes on two idle cores; `make notebooks` shows what each took.
_CELL_TIMEOUT_S = 600


def test_there_are_notebooks() -> None:
    assert [path.name[:2] for path in _NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert not [cell.source for cell in code if cell.outputs or cell.execution_count]
    assert cells[0].cell_type == "markdown"
    text = path.read_text(encoding="utf-8")
    assert not [place for place in ("/home/", "/root/", "/tmp/") if place in text]


@pytest.mark.notebook
@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_draws(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package of this checkout, whatever is installed.
    others = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(_FOLDER.parent), others]).strip(os.pathsep)
    )
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=_CELL_TIMEOUT_S,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [one for one in outputs if "image/png" in one.get("data", {})]
    assert not [one for one in outputs if _is_warning(one)]


def _is_warning(output: Any) -> bool:
    return output.get("name") == "stderr" and "Warning" in output.get("text", "")
