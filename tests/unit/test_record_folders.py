"""Whole folders of records: merged, pruned, summarised, as a table for pandas."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from compiler import tuning
from compiler.target_spec import load_target
from compiler.tuning.folder import RecordError, read_lines
from compiler.tuning.frame import COLUMNS
from compiler.tuning.merge import Merged, merge
from compiler.tuning.prune import Pruned, prune
from compiler.tuning.record import ScheduleRecord, to_line
from compiler.tuning.summary import summarize
from compiler.tuning.target_key import target_key
from tests.tuning_records import KEY, TRACE, other_key, record, write

OTHER = other_key("e", name="other")


def found(folder: Path) -> list[ScheduleRecord]:
    return [line.schedule for line in read_lines(folder) if line.schedule is not None]


def test_merge_adds_what_is_not_known(tmp_path: Path) -> None:
    one, two, three = record(1.0), record(2.0), record(3.0, key=OTHER)
    write(tmp_path / "a", one, two, "damaged\n")
    write(tmp_path / "b", two, name="b.jsonl")
    write(tmp_path / "b", three)
    write(tmp_path / "all", one)
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert (merged.added, merged.known) == (2, 2)
    (complaint,) = merged.passed_over
    assert complaint.startswith(f"{tmp_path}/a/made-up/{'f' * 64}/one.jsonl:3: not JSON")
    assert sorted(map(to_line, found(tmp_path / "all"))) == sorted(map(to_line, (one, two, three)))
    again = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert (again.added, again.known) == (0, 4)
    assert len(list((tmp_path / "all").rglob("*.jsonl"))) == 3  # none without records


def test_merge_into_a_new_folder(tmp_path: Path) -> None:
    write(tmp_path / "a", record(1.0))
    assert merge([tmp_path / "a"], tmp_path / "new") == Merged(added=1, known=0, passed_over=())


def test_merge_of_a_missing_folder_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a", record(1.0))
    with pytest.raises(RecordError, match="b is not a folder of tuning records"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def pruned(folder: Path, *, keep: int = 1, stale: bool = False, damaged: bool = False) -> Pruned:
    return prune(folder, keep=keep, stale=stale, damaged=damaged)


def test_prune_keeps_the_best_of_each_kernel_and_what_failed(tmp_path: Path) -> None:
    best, slow = record(1.0), record(2.0)
    other = record(9.0, workload="f" * 16)
    failed = record(outcome="crashed", trace=[[], []])
    neighbour = record(9.0, key=OTHER)
    write(tmp_path, slow, best, other, name="a.jsonl")
    write(tmp_path, best, failed, "damaged\n", name="b.jsonl")
    write(tmp_path, neighbour)
    dry = prune(tmp_path, keep=1, stale=False, damaged=False, dry_run=True)
    assert len(found(tmp_path)) == 6
    done = pruned(tmp_path)
    assert done == dry == Pruned(kept=5, slower=1, repeated=1)  # the damaged line is kept, too
    assert found(tmp_path) == [best, other, failed, neighbour]
    assert pruned(tmp_path, damaged=True) == Pruned(kept=4, damaged=1)
    assert not summarize(tmp_path).complaints


def test_prune_keeps_as_many_as_asked(tmp_path: Path) -> None:
    records = [record(float(number)) for number in (3, 1, 2, 4)]
    write(tmp_path, *records)
    assert pruned(tmp_path, keep=3).slower == 1
    assert found(tmp_path) == records[:3]


def test_prune_removes_stale_records_and_empty_files(tmp_path: Path) -> None:
    current = target_key(load_target("znver4"))
    path = write(tmp_path, record(1.0))
    write(tmp_path, record(1.0, key=current))
    assert pruned(tmp_path, stale=True) == Pruned(kept=1, stale=1)
    assert not path.exists()
    assert [one.target for one in found(tmp_path)] == [current]


def test_summary_counts_and_complains(tmp_path: Path) -> None:
    current = target_key(load_target("znver4"))
    write(tmp_path, record(1.0, key=current), record(2.0, key=current), name="a.jsonl")
    write(tmp_path, record(outcome="timed-out", workload="1" * 16, key=current), name="b.jsonl")
    write(tmp_path, record(1.0), "cut\n")
    (tmp_path / "lost.jsonl").write_text(to_line(record(1.0)))
    summary = summarize(tmp_path)
    old, new = summary.targets
    assert (old.key, old.is_stale, old.records, old.workloads) == (KEY, True, 1, 1)
    assert (new.key, new.is_stale, new.records) == (current, False, 3)
    assert (new.workloads, new.failed, new.files) == (1, 1, 2)
    cut, lost = summary.complaints
    assert cut.startswith(f"made-up/{'f' * 64}/one.jsonl:2: not JSON")
    assert lost == "lost.jsonl: not in a folder <target>/<fingerprint>, so no build reads it"


def test_records_as_a_table(tmp_path: Path) -> None:
    one, failed = record(3.0, 1.0, 2.0), record(outcome="crashed", reason="signal 11")
    write(tmp_path, "cut\n", one, failed)
    write(tmp_path, record(7.0, unit="instructions", key=OTHER))
    table = tuning.records(tmp_path)
    assert list(table.columns) == list(COLUMNS)
    assert list(table["id"]) == [one.id, failed.id, found(tmp_path)[2].id]
    assert list(table["unit"]) == ["us", "us", "instructions"]
    first = table.iloc[0]
    assert (first["median"], first["best"], first["values"]) == (2.0, 1.0, (3.0, 1.0, 2.0))
    assert (first["file"], first["line"]) == (f"made-up/{'f' * 64}/one.jsonl", 2)
    assert first["trace"] == TRACE
    assert bool(first["stale"])
    assert math.isnan(table.iloc[1]["median"])
    assert table.iloc[1]["reason"] == "signal 11"
    assert list(tuning.records(tmp_path, target="other")["target"]) == ["other"]


def test_a_table_of_no_records_has_columns(tmp_path: Path) -> None:
    table = tuning.records(tmp_path)
    assert (len(table), list(table.columns)) == (0, list(COLUMNS))


def test_a_pruned_file_is_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [record(1.0), record(2.0)]
    path = write(tmp_path, *records)

    def refused(_: Path, __: Path) -> Path:
        raise OSError("no permission")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OSError, match="no permission"):
        pruned(tmp_path)
    assert found(tmp_path) == records
    assert path.exists()
