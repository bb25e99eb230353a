"""The records in tuning_logs/ are whole, and of the rules and tools that are here."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.target_spec import load_target
from compiler.tuning.folder import read_lines
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.store import read_records
from compiler.tuning.summary import summarize
from compiler.tuning.target_key import target_key

LOGS = Path(__file__).resolve().parents[2] / "tuning_logs"


def test_every_line_is_a_record() -> None:
    assert summarize(LOGS).complaints == ()


def test_none_is_stale() -> None:
    """Where a rule has changed they are to be measured again: no build uses these any more."""
    assert [one.key.name for one in summarize(LOGS).targets if one.is_stale] == []


@pytest.mark.parametrize("target", ["cortex-a72", "cortex-m4f"])
def test_builds_find_them(target: str) -> None:
    records = read_records(LOGS, target_key(load_target(target)))
    assert len(records.schedules) >= 12
    assert {one.measurement.unit for one in records.schedules.values()} == {"instructions"}


def test_what_passed_was_measured_three_times() -> None:
    records = [line.record for line in read_lines(LOGS)]
    passed = [one for one in records if isinstance(one, ScheduleRecord) and one.is_usable]
    assert passed
    assert all(len(one.measurement.values) >= 3 for one in passed)
