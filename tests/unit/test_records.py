"""Tuning records: lines that check, targets that never mix, which one a build uses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.target_spec import load_target
from compiler.tuning.folder import RecordError
from compiler.tuning.record import checksum, decisions, from_line, to_line
from compiler.tuning.store import Records, read_records
from compiler.tuning.target_key import is_stale, target_key
from tests.tuning_records import KEY, other_key, record, write


def changed(line: str, **fields: Any) -> str:
    """The line with other fields and a checksum that fits them: what no editor does by accident."""
    content = json.loads(line) | fields
    del content["checksum"]
    return json.dumps(content | {"checksum": checksum(content)})


def test_line_gives_the_record_back() -> None:
    one = record(3.0, 2.0, 4.0)
    assert from_line(to_line(one)) == one
    assert to_line(one).count("\n") == 1


def test_decisions_of_a_trace() -> None:
    assert decisions(record(1.0)) == [("SamplePerfectTile", [8, 4])]


LINE = to_line(record(2.0))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        (LINE.replace("2.0", "1.0"), "checksum does not match"),
        (LINE[:-20], "not JSON"),
        (changed(LINE, schema_version=1), "in version 1; this program reads 'schedule'"),
        (changed(LINE, kind="layout"), "kind 'layout' in version 2; .*'choice' in version 1"),
        (changed(LINE, kind="choice"), "kind 'choice' in version 2"),
        (changed(LINE, outcome="fine"), "not a schedule record: an unknown outcome"),
        (changed(LINE, trace=[]), "not a schedule record: a trace that is none"),
        (changed(LINE, trace=[[], [[3, 1]]]), "not a schedule record: a trace that is none"),
        (changed(LINE, target={}), "not a schedule record: TargetKey"),
        (changed(LINE, extra=1), "not a schedule record: ScheduleRecord"),
        (changed(LINE, workload=7), "not a schedule record: a text that is none"),
        (changed(LINE, measurement=3), "not a schedule record"),
        (
            changed(LINE, measurement={"unit": "us", "values": [-1.0], "runner": "native"}),
            "not a schedule record: a value that is no positive number",
        ),
        (
            changed(LINE, measurement={"unit": "s", "values": [1.0], "runner": "native"}),
            "not a schedule record: an unknown unit",
        ),
    ],
)
def test_line_that_is_no_record_is_named(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_line(line)


def best(folder: Path, key: Any = KEY) -> Any:
    return read_records(folder, key).schedules.get(record().workload)


def test_best_record_of_each_workload_is_taken(tmp_path: Path) -> None:
    slow, fast = record(9.0), record(1.0, 50.0, 1.5)
    write(tmp_path, slow, name="a.jsonl")
    write(tmp_path, fast, name="b.jsonl")
    assert read_records(tmp_path, KEY).schedules == {fast.workload: fast}


def test_times_come_before_counted_instructions(tmp_path: Path) -> None:
    timed = record(900.0)
    write(tmp_path, record(5.0, unit="instructions"), timed)
    assert best(tmp_path) == timed


def test_records_that_failed_are_not_used(tmp_path: Path) -> None:
    write(tmp_path, record(outcome="crashed"), record(1.0, outcome="timed-out"), record())
    assert best(tmp_path) is None


@pytest.mark.parametrize("outcome", ["wrong-numbers", "crashed"])
def test_a_schedule_that_once_failed_is_never_used(outcome: str, tmp_path: Path) -> None:
    """Whatever file the failure is in, and however fast the schedule was measured."""
    planted = [[["GetSBlock", [], ["D", "main"], ["b0"]]], []]
    good = record(7.0)
    write(tmp_path, record(1.0, trace=planted), good, name="a.jsonl")
    assert best(tmp_path).trace == planted
    write(tmp_path, record(outcome=outcome, trace=planted), name="b.jsonl")
    assert best(tmp_path) == good


def test_bad_lines_are_passed_over_and_named(tmp_path: Path) -> None:
    path = write(tmp_path, "garbage\n", record(2.0), "\n", LINE[:70])
    path.write_bytes(b"\xff\xfe\x00\n" + path.read_bytes())
    records = read_records(tmp_path, KEY)
    assert list(records.schedules) == [record().workload]
    names = [line.partition(": ")[0] for line in records.passed_over]
    assert names == [f"made-up/{'f' * 64}/one.jsonl:{number}" for number in (1, 2, 5)]
    assert "codec can't decode" in records.passed_over[0]
    assert ": not JSON" in records.passed_over[1]
    assert ": not JSON" in records.passed_over[2]


def test_last_line_without_its_newline_is_a_record(tmp_path: Path) -> None:
    write(tmp_path, to_line(record(2.0)).rstrip("\n"))
    assert best(tmp_path) == record(2.0)


def test_records_of_another_target_are_never_read(tmp_path: Path) -> None:
    write(tmp_path, record(1.0, key=other_key("e", machine="b" * 64)))
    assert read_records(tmp_path, KEY) == Records()


def test_copied_record_of_another_target_is_refused(tmp_path: Path) -> None:
    write(tmp_path, to_line(record(1.0, key=other_key("e", name="neighbour"))))
    records = read_records(tmp_path, KEY)
    assert not records.schedules
    assert "a record of another target (neighbour)" in records.passed_over[0]


def test_records_by_other_tools_are_stale_and_not_used(tmp_path: Path) -> None:
    old = other_key("d", rule_set_version="0.5")
    write(tmp_path, "damaged\n", record(1.0), name="new.jsonl")
    write(tmp_path, record(0.5, key=old))
    write(tmp_path, record(0.5, key=other_key("c", machine="b" * 64)))  # another machine
    records = read_records(tmp_path, KEY)
    assert records.schedules[record().workload] == record(1.0)
    assert records.stale == (old,)


def test_key_says_what_its_fingerprint_was_made_of() -> None:
    spec = load_target("znver4")
    one, four = target_key(spec, 1), target_key(spec, 4)
    assert target_key(spec) == target_key(spec, spec.cores.count)
    assert (one.name, one.threads) == ("znver4", 1)
    assert one.fingerprint == spec.fingerprint(
        threads=1, tvm_version=one.tvm_version, rule_set_version=one.rule_set_version
    )
    assert one.machine != four.machine
    assert one.machine != target_key(load_target("x86-64-v4"), 1).machine
    assert not is_stale(one)
    assert is_stale(replace(one, tvm_version="0.26.0"))
    assert is_stale(replace(one, rule_set_version="0"))


def test_without_tvm_all_records_are_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    key = target_key(load_target("znver4"))
    monkeypatch.setattr("compiler.tuning.target_key.version", missing)
    assert is_stale(key)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as error:
        read_records(tmp_path / "nowhere", KEY)
    assert "is not a folder of tuning records" in str(error.value)
    assert "fix: give a folder such as tuning_logs, or --records none" in str(error.value)
