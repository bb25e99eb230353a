"""Records in builds: replayed before any rule, never for another target, required on request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tvm import te

from compiler.artifact.manifest import Artifact
from compiler.pipeline import compile as compile_model
from compiler.scheduling import schedule_kernel, workload_hash
from compiler.target_spec import TargetSpec, load_target
from compiler.tuning.folder import RecordError
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.store import Records, read_records
from compiler.tuning.target_key import TargetKey, target_key
from tests.default_records import default_records
from tests.lowered import workloads
from tests.onnx_models import conv_net_model, save
from tests.tuning_records import other_key, record, write


@dataclass(frozen=True, slots=True)
class Tuned:
    """A model, its file, and a record for each of its kernels that a rule takes."""

    path: Path
    key: TargetKey
    spec: TargetSpec
    kernels: int
    records: tuple[ScheduleRecord, ...]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    spec = load_target("host").with_cores(1)
    key = target_key(spec)
    path = save(conv_net_model(), tmp_path_factory.mktemp("model") / "net.onnx")
    records = default_records(conv_net_model(), spec, key)
    return Tuned(path, key, spec, len(records), records)


def build(tuned: Tuned, output: Path, logs: Path, **options: Any) -> Artifact:
    return compile_model(
        tuned.path, target=tuned.spec, output=output, records=logs, verify="skip", **options
    )


def test_records_are_replayed_before_any_rule(tuned: Tuned, tmp_path: Path) -> None:
    write(tmp_path / "logs", *tuned.records[1:])
    made = compile_model(
        tuned.path, target=tuned.spec, output=tmp_path / "out", records=tmp_path / "logs"
    )
    used = tuple(sorted(one.id for one in tuned.records[1:]))
    assert made.manifest.provenance.records_used == used
    assert '"status": "passed"' in made.verification_path.read_text()
    sources = {call["kernel"]: call["schedule"]["source"] for call in made.report()["kernels"]}
    without = {kernel for kernel, source in sources.items() if source != "record"}
    assert without == {tuned.records[0].kernel}


def test_records_of_other_threads_are_not_used(tuned: Tuned, tmp_path: Path) -> None:
    write(tmp_path / "logs", *tuned.records)
    made = build(tuned, tmp_path / "out", tmp_path / "logs", threads=2)
    assert made.manifest.provenance.records_used == ()


def test_unrelated_records_change_no_byte(tuned: Tuned, tmp_path: Path) -> None:
    """Of other kernels, of other targets, slower ones, failed ones, stale ones, damaged lines."""
    logs = tmp_path / "logs"
    write(logs, *tuned.records)
    before = build(tuned, tmp_path / "before", logs)
    assert len(before.manifest.provenance.records_used) == tuned.kernels
    one = tuned.records[0]
    slower = replace(one, measurement=replace(one.measurement, values=(50.0,)))
    write(
        logs,
        record(1.0, key=tuned.key),
        slower,
        replace(one, trace=[[], []], outcome="crashed"),
        "damaged\n",
        name="two.jsonl",
    )
    stale = replace(tuned.key, fingerprint="0" * 64, tvm_version="0.26.0")
    other = other_key("1", name="znver4")
    for key in (stale, other):
        write(logs, *(replace(one, target=key) for one in tuned.records))
    said: list[str] = []
    after = build(tuned, tmp_path / "after", logs, warn=said.append)
    assert after.manifest == before.manifest
    assert said == [
        f"record passed over: {tuned.key.name}/{tuned.key.fingerprint}/two.jsonl:4: "
        "not JSON: Expecting value: line 1 column 1 (char 0)",
        f"records of {tuned.key.name} by TVM 0.26.0, rule set {tuned.key.rule_set_version} are "
        f"stale and not used: this build is by {tuned.key.tools}",
    ]


def test_required_records_are_named_where_they_lack(tuned: Tuned, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    broken = replace(tuned.records[1], trace=[[["GetSBlock", [], ["no", "main"], ["b0"]]], []])
    write(logs, broken, *tuned.records[2:])
    with pytest.raises(RecordError) as refused:
        build(tuned, tmp_path / "out", logs, require_records=True)
    head, *named = refused.value.what.splitlines()
    assert head == f"2 of {tuned.kernels} kernels have no tuning record"
    said = dict(line.strip().split(": ", 1) for line in named)
    assert said[tuned.records[0].kernel] == "no record"
    assert said[broken.kernel].startswith(f"record {broken.id} cannot be replayed (")
    assert set(said) == {tuned.records[0].kernel, broken.kernel}
    threads = f"with 1 threads by {tuned.key.tools}"
    assert refused.value.why == (
        f"--require-records was given, and these have none for {tuned.key.name} {threads}"
    )
    assert not (tmp_path / "out").exists()


def test_all_records_that_are_required(tuned: Tuned, tmp_path: Path) -> None:
    write(tmp_path / "logs", *tuned.records)
    made = build(tuned, tmp_path / "out", tmp_path / "logs", require_records=True)
    assert {call["schedule"]["source"] for call in made.report()["kernels"]} == {"record"}


@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-a72", "neoverse-n1"])
def test_znver4_records_are_never_applied_to_another_target(target: str, tmp_path: Path) -> None:
    """On the very kernels of that target, where TVM's own database answers whatever the target."""
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir import meta_schedule as ms
    from tvm.s_tir.schedule import Trace

    from compiler.tvm_target import tvm_target

    znver4, spec = load_target("znver4"), load_target(target)
    key = target_key(znver4)
    functions = workloads(conv_net_model(), spec).functions
    records = default_records(conv_net_model(), spec, key)  # as if measured on znver4
    write(tmp_path, *records)
    database = ms.database.MemoryDatabase()
    for one in records:
        mod = IRModule({"main": functions[one.kernel].with_attr("global_symbol", "main")})
        schedule = Schedule(mod)
        Trace.apply_json_to_schedule(one.trace, schedule)
        known = database.commit_workload(mod)
        database.commit_tuning_record(
            ms.database.TuningRecord(schedule.trace, known, [1e-6], tvm_target(znver4))
        )
        assert database.query_tuning_record(mod, tvm_target(spec), "main") is not None  # TVM's
    assert len(read_records(tmp_path, key).schedules) == len(functions)
    ours = read_records(tmp_path, target_key(spec))
    assert ours == Records()
    for name, func in functions.items():
        assert schedule_kernel(name, func, 1, spec, ours).outcome.source != "record"


def test_record_that_cannot_be_replayed_is_said() -> None:
    source = te.placeholder((8, 8), name="source")
    func = te.create_prim_func([source, te.compute((8, 8), lambda i, j: source[j, i])])
    key = workload_hash(func)
    broken = record(1.0, trace=[[["GetSBlock", [], ["nothing", "main"], ["b0"]]], []])
    kernel = schedule_kernel("k", func, 1, load_target("host"), Records(schedules={key: broken}))
    assert kernel.outcome.source == "fallback"
    assert f"record {broken.id} cannot be replayed" in kernel.outcome.reason
