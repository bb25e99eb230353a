"""What was measured in turns with the default schedule, and what that says of a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.tuning.record import Measurement, ScheduleRecord, from_line, to_line
from compiler.tuning.store import best_schedules, read_records
from tests.tuning_records import KEY, record, write


def in_turns(value: float, reference: float, trace: int) -> ScheduleRecord:
    """A record measured beside the default; `trace` tells schedules apart."""
    measured = Measurement(unit="us", values=(value,), runner="native", reference=reference)
    return record(measurement=measured, trace=[[["Step", [], [trace], []]], []])


def best(*records: ScheduleRecord) -> ScheduleRecord:
    (found,) = best_schedules(records).values()
    return found


def test_a_single_reading_gives_way() -> None:
    default, lucky = in_turns(10.0, 10.0, 1), record(5.0)
    assert best(default, lucky) == default
    assert best(lucky) == lucky  # of a run that was killed before its end


def test_days_are_compared_by_what_the_default_took() -> None:
    monday, tuesday = in_turns(95.0, 100.0, 1), in_turns(96.0, 110.0, 2)
    assert best(monday, tuesday) == tuesday


def test_times_still_come_before_instructions() -> None:
    counted = Measurement(unit="instructions", values=(5.0,), runner="emulator", reference=10.0)
    assert best(record(measurement=counted), record(7.0)).measurement.unit == "us"


def test_it_is_kept(tmp_path: Path) -> None:
    one = in_turns(9.0, 10.0, 1)
    assert from_line(to_line(one)) == one
    write(tmp_path, one, record(1.0))
    assert read_records(tmp_path, KEY).schedules[one.workload] == one


def test_older_lines_have_none() -> None:
    import json

    line = to_line(record(3.0))  # written as before references were known
    assert "reference" not in json.loads(line)["measurement"]
    read = from_line(line)
    assert isinstance(read, ScheduleRecord)
    assert read.measurement.reference is None


@pytest.mark.parametrize("reference", [0.0, -1.0, float("inf")])
def test_what_is_no_time_is_refused(reference: float) -> None:
    one = in_turns(9.0, 10.0, 1)
    bad = replace(one, measurement=replace(one.measurement, reference=reference))
    with pytest.raises(ValueError, match="a reference that is no time"):
        from_line(to_line(bad))
