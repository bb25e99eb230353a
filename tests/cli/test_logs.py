"""``tunesmith logs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.cli import exit_code
from compiler.target_spec import load_target
from compiler.tuning.target_key import target_key
from tests.tuning_records import SIGNATURE, choice_record, record, rejection, write

CURRENT = target_key(load_target("znver4"))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Records by the tools that are here (two kernels) and by others, and a damaged line."""
    folder = tmp_path / "logs"
    write(
        folder,
        record(4.0, 6.0, key=CURRENT),
        record(9.0, key=CURRENT),
        record(key=CURRENT, outcome="crashed", reason="signal 11", trace=[[], []]),
        record(1234.0, key=CURRENT, unit="instructions", workload="1" * 16, kernel="softmax"),
    )
    write(folder, record(1.0), "cut\n")
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    """Run ``tunesmith logs WORDS``; return stdout and stderr."""
    assert exit_code(["logs", *map(str, words)]) == code
    said = capsys.readouterr()
    return said.out, said.err


def document(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    return json.loads(run(capsys, *words, "--json", code=code)[0])


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "--help")
    for verb in ("list", "show", "coverage", "merge", "export", "import", "prune", "check"):
        assert f"\n  {verb} " in out
        assert "Usage: tunesmith logs " in run(capsys, verb, "--help")[0]


def test_an_unknown_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such command 'lst'" in run(capsys, "lst", code=2)[1]


def test_without_a_verb_the_usual_folder_is_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "tuning_logs", record(1.0))
    assert run(capsys)[0].splitlines()[2].startswith("made-up ")
    assert [one["name"] for one in document(capsys)["targets"]] == ["made-up"]
    _, err = run(capsys, "--json", "check", code=2)
    assert "write `tunesmith logs check ... --json`" in err


def test_list_says_what_is_stale(capsys: pytest.CaptureFixture[str], logs: Path) -> None:
    out, err = run(capsys, "list", "--log-dir", logs)
    head, _, old, new = out.splitlines()
    assert head.split() == [
        *("target", "fingerprint", "threads", "records", "workloads"),
        *("choices", "failed", "rejected", "files", "state"),
    ]
    state = ["stale", "(TVM", "0.0.1,", "rule", "set", "0)"]
    assert old.split() == ["made-up", "f" * 12, "1", "1", "1", "0", "0", "0", "1", *state]
    counts = [str(CURRENT.threads), "4", "2", "0", "1", "0", "1"]
    assert new.split() == ["znver4", CURRENT.fingerprint[:12], *counts, "current"]
    assert err.startswith(f"warning: passed over: made-up/{'f' * 64}/one.jsonl:2: not JSON")


def test_list_as_json(capsys: pytest.CaptureFixture[str], logs: Path) -> None:
    listed = document(capsys, "list", "--log-dir", logs)
    old, new = listed["targets"]
    assert (old["name"], old["is_stale"], old["tvm_version"]) == ("made-up", True, "0.0.1")
    assert (new["name"], new["is_stale"], new["records"]) == ("znver4", False, 4)
    assert new["fingerprint"] == CURRENT.fingerprint
    assert len(listed["passed_over"]) == 1


@pytest.mark.parametrize("verb", [("list",), ("show", "x"), ("prune",), ("check",)])
def test_a_missing_folder_is_refused(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, err = run(capsys, *verb, "--log-dir", tmp_path / "nowhere", code=1)
    assert err.startswith(f"error: {tmp_path}/nowhere is not a folder of tuning records\n")


def test_show_of_a_target_has_the_best_of_each_kernel(
    capsys: pytest.CaptureFixture[str], logs: Path
) -> None:
    head, _, matmul, softmax = run(capsys, "show", "znver4", "--log-dir", logs)[0].splitlines()
    assert head.split()[:3] == ["record", "target", "kernel"]
    best = record(4.0, 6.0, key=CURRENT)
    assert matmul.split()[:6] == [best.id, "znver4", best.kernel, "matmul", "5.0", "us"]
    assert softmax.split()[4:] == ["1,234", "instructions", "1", "passed", "current"]
    everything = document(capsys, "show", "znver4", "--all", "--log-dir", logs)
    assert len(everything) == 4
    kernel = document(capsys, "show", "matmul_float32_8x8", "--log-dir", logs)
    assert [one["target"]["name"] for one in kernel] == ["made-up", "znver4"]


def test_show_of_a_record_says_what_was_decided(
    capsys: pytest.CaptureFixture[str], logs: Path
) -> None:
    best = record(4.0, 6.0, key=CURRENT)
    out, _ = run(capsys, "show", best.id[:8], "--log-dir", logs)
    assert f"fingerprint  {CURRENT.fingerprint}\n" in out
    assert "measured     5.0 us of 4.0 6.0\n" in out
    assert "runner       native a machine\n" in out
    assert out.endswith("steps        2\n  SamplePerfectTile  8 x 4\n")
    (shown,) = document(capsys, "show", best.id, "--log-dir", logs)
    assert shown["id"] == best.id
    assert shown["measurement"]["values"] == [4.0, 6.0]


def test_show_of_a_failed_record_says_how(capsys: pytest.CaptureFixture[str], logs: Path) -> None:
    failed = record(key=CURRENT, outcome="crashed", reason="signal 11", trace=[[], []])
    out, _ = run(capsys, "show", failed.id, "--log-dir", logs)
    assert "outcome      crashed: signal 11\n" in out


def test_show_of_choices_and_verdicts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    best = choice_record(6.0, key=CURRENT)
    slower, rejected = (
        choice_record(time, key=CURRENT, choice={"algorithm": name})
        for time, name in ((8.0, "columns"), (1.0, "rejected"))
    )
    write(tmp_path, slower, rejected, rejection(rejected), best, record(1.0, key=CURRENT))
    (shown,) = document(capsys, "show", "resnet18", "--log-dir", tmp_path)
    assert (shown["id"], shown["kind"]) == (best.id, "choice")
    assert len(document(capsys, "show", SIGNATURE, "--all", "--log-dir", tmp_path)) == 4
    out, _ = run(capsys, "show", "znver4", "--log-dir", tmp_path)
    shown_ids = [line.split()[0] for line in out.splitlines()[2:]]
    assert shown_ids == [best.id, record(1.0, key=CURRENT).id]
    out, _ = run(capsys, "show", best.id, "--log-dir", tmp_path)
    assert "choice       algorithm winograd, chunk 7x14, tile 4\n" in out
    assert "instead of   algorithm direct\n" in out
    assert "by default   10.0 us of 10.0\n" in out
    out, _ = run(capsys, "show", rejection(rejected).id, "--log-dir", tmp_path)
    assert "verdict      rejected: 1.03 times as long\n" in out


def test_show_of_nothing_is_refused(capsys: pytest.CaptureFixture[str], logs: Path) -> None:
    _, err = run(capsys, "show", "relu", "--log-dir", logs, code=1)
    assert err.startswith("error: no record of `relu`\n")
    assert f"fix: `tunesmith logs list --log-dir {logs}` shows what it has" in err


def test_merge(capsys: pytest.CaptureFixture[str], logs: Path, tmp_path: Path) -> None:
    into = ("--log-dir", tmp_path / "all")
    out, err = run(capsys, "merge", logs, *into)
    assert out.split() == ["added", "5", "known", "0"]
    assert "warning: passed over: " in err
    assert document(capsys, "merge", logs, *into)["known"] == 5
    assert "Missing argument" in run(capsys, "merge", *into, code=2)[1]


def test_prune(capsys: pytest.CaptureFixture[str], logs: Path) -> None:
    options = ("--stale", "--damaged", "--log-dir", logs)
    expected = {"kept": 3, "slower": 1, "repeated": 0, "stale": 1, "damaged": 1, "in_use": []}
    assert document(capsys, "prune", *options, "--dry-run") == {**expected, "dry_run": True}
    out, _ = run(capsys, "prune", *options)
    words = out.split()
    assert words == ["kept", "3", "slower", "1", "repeated", "0", "stale", "1", "damaged", "1"]
    assert run(capsys, "check", "--log-dir", logs)[0].split() == ["records", "3", "problems", "0"]


def test_prune_of_one_target(capsys: pytest.CaptureFixture[str], logs: Path) -> None:
    words = ("--damaged", "--target", "made-up", "--log-dir", logs)
    assert document(capsys, "prune", *words)["slower"] == 0
    assert document(capsys, "prune", "--log-dir", logs)["slower"] == 1
    assert "Invalid value for '--keep'" in run(capsys, "prune", "--keep", 0, code=2)[1]


def test_check_names_each_problem(capsys: pytest.CaptureFixture[str], logs: Path) -> None:
    path = write(logs, record(2.0, key=CURRENT), name="two.jsonl")
    path.write_text(path.read_text().replace("2.0", "1.0"))
    out, _ = run(capsys, "check", "--log-dir", logs, code=1)
    head, problems, stale, cut, edited = out.splitlines()
    assert (head.split(), problems.split()) == (["records", "5"], ["problems", "2"])
    assert stale == f"made-up/{'f' * 12}: 1 records, stale (TVM 0.0.1, rule set 0)"
    assert cut.startswith(f"made-up/{'f' * 64}/one.jsonl:2: not JSON")
    place = f"znver4/{CURRENT.fingerprint}/two.jsonl:1"
    assert edited == f"{place}: the checksum does not match: the line was cut or edited"
    found = document(capsys, "check", "--log-dir", logs, code=1)
    assert (found["records"], found["stale"], len(found["problems"])) == (5, 1, 2)


def test_check_of_an_empty_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert document(capsys, "check", "--log-dir", tmp_path) == {
        "records": 0,
        "stale": 0,
        "problems": [],
    }


def test_records_work_without_tvm(logs: Path, tunesmith: Any) -> None:
    """Listing and checking are for machines that only keep records."""
    other = logs.parent / "other"
    other.mkdir()
    (other / "tvm.py").write_text("raise ImportError('no tvm here')")
    path = f"{other}:{Path(__file__).parents[2]}"
    for words in (("list",), ("show", "znver4"), ("prune", "--dry-run")):
        done = tunesmith("logs", *words, "--log-dir", logs, PYTHONPATH=path)
        assert done.code == 0, done.stderr
