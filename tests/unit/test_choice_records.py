"""Choice records and verdicts: lines that check, and what a build takes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler import tuning
from compiler.tuning.frame import CHOICE_COLUMNS
from compiler.tuning.merge import merge
from compiler.tuning.prune import prune
from compiler.tuning.record import ChoiceRecord, Record, choice_text, from_line, to_line
from compiler.tuning.store import Records, read_records
from compiler.tuning.summary import summarize
from tests.tuning_records import (
    KEY,
    SIGNATURE,
    TRACE,
    choice_record,
    other_key,
    record,
    rejection,
    write,
)
from tests.unit.test_records import changed

SMALL = {"algorithm": "winograd", "tile": 2, "chunk": [7, 14]}
OTHER = SIGNATURE.replace("64", "128")


@pytest.mark.parametrize(
    "one", [choice_record(7.0), rejection(choice_record(7.0)), rejection(record(1.0))]
)
def test_line_gives_the_record_back(one: Record) -> None:
    assert from_line(to_line(one)) == one
    assert to_line(one).count("\n") == 1


def test_schedules_of_older_programs_are_read() -> None:
    """A line of the first program that knew one kind: its id, and so manifests, stay the same."""
    line = to_line(record(2.0))
    assert '"kind":"schedule"' in line
    assert '"schema_version":2' in line
    assert record(2.0).id == "f8d44175bd94"


def test_verdicts_name_what_the_records_name() -> None:
    assert rejection(record(1.0)).candidate == record(1.0).candidate
    assert rejection(choice_record(1.0)).candidate == choice_record(1.0).candidate
    assert choice_record(1.0).candidate != choice_record(1.0, choice=SMALL).candidate


def test_choice_in_words() -> None:
    assert choice_text(choice_record(1.0).choice) == "algorithm winograd, chunk 7x14, tile 4"


CHOICE = to_line(choice_record(7.0))
VERDICT = to_line(rejection(record(1.0)))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (changed(CHOICE, schema_version=2), "kind 'choice' in version 2"),
        (changed(CHOICE, choice=[4]), "not a choice record: a choice that is none"),
        (changed(CHOICE, instead_of=None), "not a choice record: a choice that is none"),
        (changed(CHOICE, operators=0), "not a choice record: no operator"),
        (changed(CHOICE, operators=True), "not a choice record: no operator"),
        (changed(CHOICE, signature=3), "not a choice record: a text that is none"),
        (changed(CHOICE, outcome="fine"), "not a choice record: an unknown outcome"),
        (changed(CHOICE, target={}), "not a choice record: TargetKey"),
        (
            changed(
                CHOICE, default={"unit": "instructions", "values": [1.0], "runner": "emulator"}
            ),
            "not a choice record: two units",
        ),
        (changed(VERDICT, verdict="fine"), "not a verdict record: an unknown verdict"),
        (changed(VERDICT, workload=""), "not a verdict record: a verdict on no schedule"),
        (changed(VERDICT, signature="s", choice={}), "not a verdict record: .* or on both"),
        (changed(VERDICT, reason=None), "not a verdict record: a text that is none"),
    ],
)
def test_line_that_is_no_record_is_named(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_line(line)


def chosen(folder: Path) -> dict[str, ChoiceRecord]:
    return dict(read_records(folder, KEY).choices)


def test_the_choice_that_saves_most_is_taken(tmp_path: Path) -> None:
    best = choice_record(6.0)
    write(tmp_path, choice_record(7.0, choice=SMALL), best, choice_record(9.0, signature=OTHER))
    assert chosen(tmp_path) == {SIGNATURE: best, OTHER: choice_record(9.0, signature=OTHER)}


def test_savings_are_of_one_operator(tmp_path: Path) -> None:
    """Sums over more kernels are larger: what four operators save is compared as one's."""
    many = choice_record(96.0, default=100.0, operators=4, choice=SMALL)
    one = choice_record(28.0, default=30.0)
    write(tmp_path, many, one)
    assert chosen(tmp_path) == {SIGNATURE: one}


def test_a_choice_that_saves_nothing_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path, choice_record(11.0), choice_record(9.95, signature=OTHER))
    assert chosen(tmp_path) == {}


def test_models_that_disagree_are_averaged(tmp_path: Path) -> None:
    faster, slower = choice_record(6.0), choice_record(13.0, model="other")
    write(tmp_path, faster, slower)
    assert chosen(tmp_path) == {SIGNATURE: faster}
    write(tmp_path, choice_record(12.0, model="third"), name="two.jsonl")
    assert chosen(tmp_path) == {}


def test_the_same_record_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, choice_record(7.0), choice_record(14.0, model="other"))
    write(tmp_path, choice_record(7.0), choice_record(7.0), name="two.jsonl")
    assert chosen(tmp_path) == {}


def test_times_come_before_counted_instructions(tmp_path: Path) -> None:
    counted = choice_record(100.0, default=1e6, unit="instructions", choice=SMALL)
    write(tmp_path, counted, choice_record(8.0))
    assert chosen(tmp_path) == {SIGNATURE: choice_record(8.0)}


@pytest.mark.parametrize(
    "failure",
    [
        choice_record(None, outcome="wrong-numbers"),
        choice_record(None, outcome="crashed", model="other"),
        rejection(choice_record(1.0)),
    ],
)
def test_what_failed_or_was_rejected_is_never_taken(failure: Record, tmp_path: Path) -> None:
    other = choice_record(9.0, choice=SMALL)
    write(tmp_path, choice_record(1.0), other)
    assert chosen(tmp_path)[SIGNATURE].choice != SMALL
    write(tmp_path, failure, name="two.jsonl")
    assert chosen(tmp_path) == {SIGNATURE: other}


def test_a_rejected_schedule_is_never_used(tmp_path: Path) -> None:
    fast = record(1.0, trace=[[["GetSBlock", [], ["D", "main"], ["b0"]]], []])
    write(tmp_path, fast, record(5.0))
    write(tmp_path, rejection(fast), name="two.jsonl")
    assert read_records(tmp_path, KEY).schedules == {record().workload: record(5.0)}


def test_choices_of_another_target_are_never_read(tmp_path: Path) -> None:
    write(tmp_path, choice_record(1.0, key=other_key("e", machine="b" * 64)))
    assert read_records(tmp_path, KEY) == Records()
    write(tmp_path, to_line(choice_record(1.0, key=other_key("e", name="neighbour"))))
    copied = read_records(tmp_path, KEY)
    assert not copied.choices
    assert "a record of another target (neighbour)" in copied.passed_over[0]


def test_prune_keeps_what_builds_take(tmp_path: Path) -> None:
    """Of the best choice all records, whose mean counts; what is rejected is not the best."""
    fast = record(1.0, trace=[[["GetSBlock", [], ["D", "main"], ["b0"]]], []])
    kept: list[Record] = [
        *(choice_record(6.0), choice_record(9.0, model="other"), record(5.0)),
        *(rejection(fast), rejection(choice_record(1.0, choice=SMALL))),
    ]
    write(tmp_path, fast, choice_record(1.0, choice=SMALL), choice_record(8.0, choice={"a": 1}))
    write(tmp_path, *kept, name="two.jsonl")
    before = read_records(tmp_path, KEY)
    assert prune(tmp_path, keep=1, stale=False, damaged=False).slower == 3
    assert read_records(tmp_path, KEY) == before
    merge([tmp_path], tmp_path / "all")
    assert read_records(tmp_path / "all", KEY) == before


def test_summary_counts_each_kind(tmp_path: Path) -> None:
    write(tmp_path, record(1.0), choice_record(5.0), choice_record(20.0, signature=OTHER))
    write(
        tmp_path,
        *(
            choice_record(None, outcome="crashed", choice=SMALL),
            rejection(record(3.0, trace=TRACE)),
        ),
        name="two.jsonl",
    )
    (target,) = summarize(tmp_path).targets
    assert (target.records, target.workloads, target.choices) == (5, 0, 1)
    assert (target.failed, target.rejected) == (1, 1)


def test_choices_as_a_table(tmp_path: Path) -> None:
    one = choice_record(12.0, default=20.0, operators=2)
    write(tmp_path, record(1.0), one, rejection(one), rejection(record(1.0)))
    table = tuning.choices(tmp_path)
    assert list(table.columns) == list(CHOICE_COLUMNS)
    (row,) = table.to_dict("records")
    assert (row["id"], row["signature"], row["choice"]) == (one.id, SIGNATURE, one.choice)
    assert (row["median"], row["default_median"], row["saved"]) == (12.0, 20.0, 4.0)
    assert row["rejected"]
    schedules = tuning.records(tmp_path)
    assert list(schedules["id"]) == [record(1.0).id]
    assert list(schedules["rejected"]) == [True]
