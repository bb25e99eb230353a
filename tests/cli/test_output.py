"""How verbs talk."""

from __future__ import annotations

import io
import sys

import pytest

from compiler.commands.output import print_facts, progress_reporter, table_lines


def test_table_is_aligned() -> None:
    rows = [("conv", "1"), ("matmul", "1,000")]
    assert table_lines(("kernel", "us"), rows, right=("us",)) == [
        "kernel     us",
        "------  -----",
        "conv        1",
        "matmul  1,000",
    ]


def test_table_without_rows_is_its_head() -> None:
    assert table_lines(("kernel", "us"), []) == ["kernel  us", "------  --"]


def test_facts_are_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts([("a", "1"), ("long", "2")], indent=2)
    assert capsys.readouterr().out == "  a     1\n  long  2\n"


def test_no_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_reporter() as report:
        report("fuse")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_reporter() as report:
        report("fuse-ops")
    assert "fuse-ops" in terminal.getvalue()
    assert capsys.readouterr().out == ""
