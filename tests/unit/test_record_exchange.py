"""Records to and from MetaSchedule's database, and how much of a model they cover."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from compiler.cli import exit_code
from compiler.kernels import build as kernels_build
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.record_coverage import record_coverage
from compiler.record_exchange import export_records
from compiler.record_import import import_records
from compiler.target_spec import TargetSpec, load_target
from compiler.tuner.build_pool import BuildPool
from compiler.tuner.model_process import ModelProcess
from compiler.tuner.trial import Built, Candidate
from compiler.tuning.folder import RecordError, read_lines
from compiler.tuning.metaschedule_files import FILES
from compiler.tuning.record import ScheduleRecord, to_line
from compiler.tuning.store import read_records
from compiler.tuning.target_key import target_key
from compiler.tvm_target import tvm_target
from tests.default_records import default_records
from tests.dying_database_worker import SECONDS
from tests.lowered import workloads
from tests.onnx_models import conv_net_model, save
from tests.planted_kernels import with_body
from tests.tuning_records import record, write

SPEC = load_target("host")
KEY = target_key(SPEC, threads=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(conv_net_model(), tmp_path_factory.mktemp("model") / "net.onnx")


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return load_model(path)


@pytest.fixture(scope="module")
def records() -> tuple[ScheduleRecord, ...]:
    return default_records(conv_net_model(), SPEC.with_cores(1), KEY)


def found(folder: Path) -> list[ScheduleRecord]:
    return [line.schedule for line in read_lines(folder) if line.schedule is not None]


def test_records_go_there_and_back(
    model: Model, records: tuple[ScheduleRecord, ...], tmp_path: Path
) -> None:
    slower = replace(records[0], measurement=replace(records[0].measurement, values=(50.0,)))
    write(tmp_path / "logs", *records, slower)
    out = export_records(model, SPEC, tmp_path / "logs", tmp_path / "db", threads=1)
    assert (out.records, out.workloads, out.passed_over) == (len(records) + 1, len(records), ())
    back = import_records(tmp_path / "db", model, SPEC, tmp_path / "again", threads=1)
    assert (back.records, back.failed) == (len(records), 0)
    assert back.passed_over == ("1 entries: another of the same kernel is faster",)
    kept = {one.workload: one for one in found(tmp_path / "again")}
    for one in records:
        assert kept[one.workload].trace == one.trace
        assert kept[one.workload].kernel == one.kernel
        assert kept[one.workload].target == KEY
        assert kept[one.workload].measurement.values == pytest.approx([5.0], rel=1e-6)
        assert kept[one.workload].measurement.runner == "metaschedule"


def test_metaschedule_finds_what_was_exported(
    model: Model, records: tuple[ScheduleRecord, ...], tmp_path: Path
) -> None:
    write(tmp_path / "logs", *records)
    export_records(model, SPEC, tmp_path / "logs", tmp_path / "db", threads=1)
    database = ms.database.JSONDatabase(work_dir=str(tmp_path / "db"), allow_missing=False)
    for func in workloads(conv_net_model(), SPEC.with_cores(1)).functions.values():
        mod = IRModule({"main": func.with_attr("global_symbol", "main")})
        assert database.query_schedule(mod, tvm_target(SPEC), "main") is not None


def test_what_is_not_exported_is_named(
    model: Model, records: tuple[ScheduleRecord, ...], tmp_path: Path
) -> None:
    first, second, *_ = records
    counted = replace(first, measurement=replace(first.measurement, unit="instructions"))
    crashed = replace(first, outcome="crashed")
    broken = replace(second, trace=[[["GetSBlock", [], ["no", "main"], ["b0"]]], []])
    foreign = record(1.0, key=KEY)
    write(tmp_path / "logs", counted, crashed, broken, foreign)
    out = export_records(model, SPEC, tmp_path / "logs", tmp_path / "db", threads=1)
    assert out.records == 0
    assert out.passed_over[0].endswith("measured in instructions; the database knows seconds only")
    assert out.passed_over[1].endswith("its schedule crashed")
    assert ": it cannot be replayed (" in out.passed_over[2]
    assert "the model has no kernel 0123456789abcdef" in out.passed_over[3]


def test_a_database_that_is_there_is_not_added_to(model: Model, tmp_path: Path) -> None:
    (tmp_path / FILES[0]).write_text("")
    with pytest.raises(RecordError, match="is there already"):
        export_records(model, SPEC, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "is no database"), ("{", "cannot be read")]
)
def test_what_is_no_database_is_refused(
    content: str | None, problem: str, model: Model, tmp_path: Path
) -> None:
    if content is not None:
        for name in FILES:
            (tmp_path / name).write_text(content)
    with pytest.raises(RecordError, match=problem):
        import_records(tmp_path, model, SPEC, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def commit(folder: Path, mod: IRModule, spec: TargetSpec, seconds: list[float]) -> None:
    folder.mkdir(exist_ok=True)
    database = ms.database.JSONDatabase(work_dir=str(folder))
    schedule = Schedule(mod)
    schedule.get_child_blocks(schedule.get_sblock("root"))
    known = database.commit_workload(mod)
    target = tvm_target(spec)
    database.commit_tuning_record(ms.database.TuningRecord(schedule.trace, known, seconds, target))


def test_entries_of_others_are_not_imported(model: Model, tmp_path: Path) -> None:
    from tvm import te

    source = te.placeholder((8, 8), name="source")
    other = te.create_prim_func([source, te.compute((8, 8), lambda i, j: source[j, i])])
    other_mod = IRModule({"main": other.with_attr("global_symbol", "main")})
    func = next(iter(workloads(conv_net_model(), SPEC.with_cores(1)).functions.values()))
    mod = IRModule({"main": func.with_attr("global_symbol", "main")})
    commit(tmp_path / "db", other_mod, SPEC, [1e-6])
    commit(tmp_path / "db", mod, load_target("cortex-a72"), [1e-6])
    commit(tmp_path / "db", mod, SPEC, [1e10])
    done = import_records(tmp_path / "db", model, SPEC, tmp_path / "logs", threads=1)
    assert (done.records, done.failed) == (0, 0)
    assert not (tmp_path / "logs").exists()
    first, second, third = sorted(done.passed_over, key=lambda text: text.partition(": ")[2])
    assert "it has no measured time" in first
    assert "for another target (llvm aarch64-unknown-linux-gnu cortex-a72)" in second
    assert "the model has no kernel" in third


@pytest.mark.slow
def test_a_target_that_cannot_run_here_is_not_imported_for(model: Model, tmp_path: Path) -> None:
    spec = load_target("apple-m1")
    records = default_records(conv_net_model(), spec, target_key(spec))
    write(tmp_path / "logs", *records)
    export_records(model, spec, tmp_path / "logs", tmp_path / "db")
    with pytest.raises(RecordError, match="schedules for apple-m1 cannot be checked here"):
        import_records(tmp_path / "db", model, spec, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_wrong_numbers_are_kept_as_such(
    model: Model,
    records: tuple[ScheduleRecord, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check that fails one kernel: the planted schedule is never used by a build."""
    wrong = records[0].kernel

    check = ModelProcess.check

    def planted(*arguments: Any, **options: Any) -> Any:
        result = check(*arguments, **options)
        kernels = tuple(
            replace(one, problem="planted") if one.kernel == wrong else one
            for one in result.kernels
        )
        assert kernels != result.kernels
        return replace(result, kernels=kernels)

    monkeypatch.setattr(ModelProcess, "check", planted)
    write(tmp_path / "logs", *records)
    export_records(model, SPEC, tmp_path / "logs", tmp_path / "db", threads=1)
    done = import_records(tmp_path / "db", model, SPEC, tmp_path / "new", threads=1)
    assert (done.records, done.failed) == (len(records) - 1, 1)
    outcomes = {one.kernel: one.outcome for one in found(tmp_path / "new")}
    assert outcomes[wrong] == "wrong-numbers"
    assert records[0].workload not in read_records(tmp_path / "new", KEY).schedules
    (reason,) = done.passed_over
    assert reason.endswith(f"{wrong}: wrong-numbers: its numbers are not onnxruntime's")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "body"),
    [
        ("wrong-numbers", ""),
        ("crashed", "*(volatile int *)0 = 1;"),
        ("timed-out", "for (volatile int i = 0; ; i++) { }"),
    ],
)
def test_a_schedule_that_fails_alone_makes_way_for_the_next_best(
    how: str,
    body: str,
    model: Model,
    records: tuple[ScheduleRecord, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = records[0]
    # Said to be fast: no step, but for a look at a block, by which it is not the reference.
    nothing = [[["GetSBlock", [], ["T_add", "main"], ["b0"]]], []]
    bad = replace(good, trace=nothing, measurement=replace(good.measurement, values=(1.0,)))
    submit = BuildPool.submit

    def planting(pool: BuildPool, candidate: Candidate) -> Future[Built]:
        building = submit(pool, candidate)
        if candidate.trace != bad.trace:
            return building
        built = building.result()
        assert built.kernel is not None
        changed: Future[Built] = Future()
        changed.set_result(replace(built, kernel=with_body(built.kernel, body)))
        return changed

    monkeypatch.setattr(BuildPool, "submit", planting)
    write(tmp_path / "logs", bad, *records)
    export_records(model, SPEC, tmp_path / "logs", tmp_path / "db", threads=1)
    done = import_records(tmp_path / "db", model, SPEC, tmp_path / "new", threads=1)
    assert (done.records, done.failed) == (len(records), 1)
    assert f"{bad.kernel}: {how}: " in done.passed_over[0]
    outcomes = {one.trace_id: one.outcome for one in found(tmp_path / "new")}
    assert outcomes[bad.trace_id] == how
    used = read_records(tmp_path / "new", KEY).schedules
    assert used[bad.workload].trace == good.trace
    assert len(used) == len(records)


@pytest.mark.slow
def test_a_schedule_that_crashes_in_the_model_only_is_found(
    model: Model,
    records: tuple[ScheduleRecord, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crashing = records[-1].kernel
    build = kernels_build.build_kernel

    def planting(*arguments: Any, name: str, outcome: ScheduleOutcome, **rest: Any) -> Any:
        kernel: CompiledKernel = build(*arguments, name=name, outcome=outcome, **rest)
        is_bad = kernel.name == crashing and outcome.source == "record"
        return with_body(kernel, "__builtin_trap();") if is_bad else kernel

    monkeypatch.setattr(kernels_build, "build_kernel", planting)
    write(tmp_path / "logs", *records)
    export_records(model, SPEC, tmp_path / "logs", tmp_path / "db", threads=1)
    done = import_records(tmp_path / "db", model, SPEC, tmp_path / "new", threads=1)
    assert (done.records, done.failed) == (len(records) - 1, 1)
    outcomes = {one.kernel: one.outcome for one in found(tmp_path / "new")}
    assert outcomes.pop(crashing) == "crashed"
    assert set(outcomes.values()) == {"passed"}


@pytest.mark.slow
def test_an_entry_that_ends_the_process_that_reads_it_is_named(
    model: Model,
    records: tuple[ScheduleRecord, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compiler.tuner.database_entries._MODULE", "tests.dying_database_worker")
    first, second, third, *_ = records
    deadly = replace(second, measurement=replace(second.measurement, values=(1e6 * SECONDS,)))
    write(tmp_path / "logs", first, deadly, third)
    export_records(model, SPEC, tmp_path / "logs", tmp_path / "db", threads=1)
    done = import_records(tmp_path / "db", model, SPEC, tmp_path / "new", threads=1)
    (named,) = done.passed_over
    assert "TVM does not survive reading it (" in named
    assert "SIGSEGV" in named
    assert {one.kernel for one in found(tmp_path / "new")} == {first.kernel, third.kernel}


def test_coverage_is_the_share_of_the_work(
    model: Model, records: tuple[ScheduleRecord, ...], tmp_path: Path
) -> None:
    broken = replace(records[1], trace=[[["GetSBlock", [], ["no", "main"], ["b0"]]], []])
    stale = replace(KEY, fingerprint="0" * 64, rule_set_version="0")
    write(tmp_path, records[0], broken, "cut\n")
    write(tmp_path, replace(records[2], target=stale))
    coverage = record_coverage(model, SPEC, tmp_path, threads=1)
    by_name = {one.kernel: one for one in coverage.kernels}
    assert len(by_name) == len(records)
    assert [one.kernel for one in coverage.kernels if one.is_covered] == [records[0].kernel]
    total = sum(one.macs for one in coverage.kernels)
    assert coverage.macs_share == by_name[records[0].kernel].macs / total > 0
    unusable = by_name[broken.kernel]
    assert unusable.record == broken
    assert unusable.outcome.reason.startswith(f"record {broken.id} cannot be replayed")
    assert list(coverage.stale) == [stale]
    assert len(coverage.passed_over) == 1
    assert coverage.kernels[0].macs == max(one.macs for one in coverage.kernels)


@pytest.mark.parametrize("target", ["cortex-m4f", "cuda-sm80", "cortex-m55"])
def test_coverage_needs_no_compiler_of_the_target(
    target: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    coverage = record_coverage(model, load_target(target), tmp_path)
    assert coverage.kernels
    assert coverage.macs_share == 0
    assert {one.outcome.source for one in coverage.kernels} <= {"rule", "fallback"}


def test_coverage_on_the_command_line(
    path: Path,
    records: tuple[ScheduleRecord, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path, *records[1:])
    words = ["logs", "coverage", path, "--target", "host", "--threads", "1", "--log-dir", tmp_path]
    assert exit_code([*map(str, words), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert 0 < said["macs_share"] < 1
    missing = [one for one in said["kernels"] if one["schedule"]["source"] != "record"]
    assert [one["kernel"] for one in missing] == [records[0].kernel]
    assert exit_code([*map(str, words)]) == 0
    out = capsys.readouterr().out
    count = len(records)
    assert f"\n{count - 1} of {count} kernels have records that can be used: " in out
    (row,) = [line for line in out.splitlines() if line.startswith(f"{records[0].kernel} ")]
    assert row.endswith("-  no record")


def test_export_and_import_on_the_command_line(
    path: Path,
    records: tuple[ScheduleRecord, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs, database = tmp_path / "logs", tmp_path / "db"
    write(logs, *records)
    target = ["--target", "host", "--threads", "1"]
    words = ["logs", "export", str(path), "-o", str(database), *target, "--log-dir", str(logs)]
    assert exit_code(words) == 0
    count = str(len(records))
    assert capsys.readouterr().out.split() == ["records", count, "workloads", count]
    new = ["--log-dir", str(tmp_path / "new")]
    words = ["logs", "import", str(database), "--model", str(path), *target, *new, "--json"]
    assert exit_code(words) == 0
    done = json.loads(capsys.readouterr().out)
    assert done == {"records": len(records), "failed": 0, "passed_over": []}
    assert exit_code(["logs", "import", str(logs), "--model", str(path), *target]) == 1
    assert "is no database of MetaSchedule\n" in capsys.readouterr().err
    assert to_line(records[0]) in (logs / KEY.name / KEY.fingerprint / "one.jsonl").read_text()
