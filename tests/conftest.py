"""What tests of every kind share: the vendored models, as files and compiled, and golden texts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.artifact.manifest import Artifact

_TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite tests/golden/texts instead of checking",
    )


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of vendored ONNX files and test sets."""
    return _TESTS / "models"


@pytest.fixture(scope="session")
def compiled(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """A function: name of a vendored model -> its artifact for this machine, made once, checked."""
    from compiler.pipeline import compile  # not for tests that need no compiler

    folder = tmp_path_factory.mktemp("compiled")

    @functools.cache
    def artifact(name: str) -> Artifact:
        model = models / f"{name}.onnx"
        return compile(model, target="host", output=folder / name, threads=2, jobs=2)

    return artifact


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that compares a text with the one kept under the test's name."""
    name = request.node.nodeid.rpartition("/")[2].replace(".py::", "-")
    path = _TESTS / "golden" / "texts" / f"{name}.txt"

    def check(text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"{path.name} is not there: run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return check
