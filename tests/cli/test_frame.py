"""The command line's frame: help, exit codes, errors, what is imported."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from compiler import cli
from compiler.cli import VERBS, exit_code
from compiler.errors import TargetError

HEAVY = ("tvm", "onnx", "onnxruntime", "numpy", "pandas", "rich", "xgboost")


def loaded_modules(statement: str) -> set[str]:
    """Names of the top-level packages that a process has loaded after `statement`."""
    program = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    root = Path(cli.__file__).parent.parent
    output = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(root)},
    ).stdout
    return set(output.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["targets"], ["targets", "show", "znver4"]])
def test_light_verbs_import_no_heavy_package(words: list[str]) -> None:
    loaded = loaded_modules(f"from compiler.cli import exit_code; exit_code({words!r})")
    assert "click" in loaded
    assert not loaded & set(HEAVY)


def test_import_of_compiler_is_light() -> None:
    assert not loaded_modules("import compiler") & set(HEAVY)


def test_help_lists_every_verb(tunesmith: Callable[..., Any]) -> None:
    outcome = tunesmith("--help")
    assert outcome.code == 0
    for verb, text in VERBS.items():
        assert f"  {verb}" in outcome.stdout
        assert text in outcome.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_module_and_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.util.find_spec(f"compiler.commands.{verb}")
    assert exit_code([verb, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert help_text.startswith(f"Usage: tunesmith {verb}")
    assert "--json" in help_text


def test_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["inspekt"]) == 2
    assert "no such verb 'inspekt'; did you mean 'inspect'?" in capsys.readouterr().err


def test_unknown_verb_far_from_all_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["xyzzy"]) == 2
    assert "no such verb 'xyzzy'; verbs: targets, inspect," in capsys.readouterr().err


def test_wrong_option_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets", "--colour"]) == 2
    assert "--colour" in capsys.readouterr().err


def test_compiler_error_is_three_lines_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(["targets", "show", "znver5"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "error: there is no target `znver5`"
    assert [line[:7] for line in lines[1:]] == ["  why: ", "  fix: "]


def test_error_is_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets", "show", "znver5", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    error = json.loads(captured.err)["error"]
    assert error["kind"] == TargetError.__name__
    assert error["what"] == "there is no target `znver5`"
    assert set(error) == {"kind", "what", "why", "fix"}


class Raising(click.Command):
    """A verb that fails with the exception it was made with."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("targets")
        self.error = error

    def invoke(self, ctx: click.Context) -> None:  # noqa: ARG002  # click's signature
        raise self.error


@pytest.fixture
def verb_raises(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def replace(error: BaseException) -> None:
        monkeypatch.setattr("compiler.commands.targets.command", Raising(error))

    return replace


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space, or choose another place"),
        (errno.EACCES, "change its permissions, or choose another place"),
        (errno.EROFS, "choose a place that can be written"),
        (errno.ENOENT, "check the path"),
    ],
)
def test_file_errors_read_like_other_errors(
    verb_raises: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    number: int,
    advice: str,
) -> None:
    verb_raises(OSError(number, os.strerror(number), "out/lib.so"))
    assert exit_code(["targets"]) == 1
    assert capsys.readouterr().err == (
        f"error: out/lib.so: {os.strerror(number)}\n"
        "  why: the file could not be read or written\n"
        f"  fix: {advice}\n"
    )


def test_other_system_errors_are_bugs(verb_raises: Callable[[BaseException], None]) -> None:
    verb_raises(OSError(errno.EBADF, "Bad file descriptor"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        exit_code(["targets"])


def test_interrupt_is_130(
    verb_raises: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb_raises(KeyboardInterrupt())
    assert exit_code(["targets"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_closed_pipe_is_quiet() -> None:
    root = Path(cli.__file__).parent.parent
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; time.sleep(0.2)\nfrom compiler.cli import main; main(['targets'])",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) != 0


def test_full_disk_at_stdout_is_an_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    root = Path(cli.__file__).parent.parent
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "compiler", "targets"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root)},
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device\n  why: ")


def test_version_is_printed(tunesmith: Callable[..., Any]) -> None:
    outcome = tunesmith("--version")
    assert outcome.code == 0
    assert outcome.stdout.startswith("tunesmith 0.")
