"""How a refusal looks: exit code 1 and one screen of what, why and fix."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Outcome

_SCREEN_LINES, _SCREEN_COLUMNS = 25, 80


def assert_refused(outcome: Outcome, what: str, why: str, fix: str) -> None:
    """Exit code 1, and on stderr three parts that fit one screen and hold these texts."""
    assert outcome.code == 1, outcome.stdout + outcome.stderr
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert sum(1 + len(line) // _SCREEN_COLUMNS for line in lines) <= _SCREEN_LINES
    head, _, rest = outcome.stderr.partition("\n  why: ")
    reason, _, way_out = rest.partition("\n  fix: ")
    assert head.startswith("error: ")
    assert what in head
    assert why in reason
    assert fix in way_out


def listing(folder: Path) -> list[str]:
    """Return everything below `folder`, by relative path."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
