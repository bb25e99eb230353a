"""Tuning records: lines that check, targets that never mix, schedules that are replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.tuning.record import ScheduleRecord, from_line, to_line
from compiler.tuning.store import RecordError, read_records


def record(**changes: Any) -> ScheduleRecord:
    facts: dict[str, Any] = {
        "fingerprint": "f" * 64,
        "workload": "0123456789abcdef",
        "trace": [[], []],
        "times_us": (3.0, 2.0, 4.0),
        "runner": "native",
    }
    return ScheduleRecord(**{**facts, **changes})


def write(folder: Path, fingerprint: str, text: str, name: str = "one.jsonl") -> None:
    path = folder / "host" / fingerprint / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_line_gives_the_record_back() -> None:
    assert from_line(to_line(record())) == record()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (to_line(record()).replace("2.0", "1.0"), "checksum does not match"),
        (to_line(record())[:-20], "not JSON"),
    ],
)
def test_damaged_line_is_named(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_line(line)


def test_best_record_of_each_workload_is_taken(tmp_path: Path) -> None:
    slow, fast = record(times_us=(9.0,)), record(times_us=(1.0, 50.0, 1.5))
    write(tmp_path, "f" * 64, to_line(slow), "a.jsonl")
    write(tmp_path, "f" * 64, to_line(fast), "b.jsonl")
    assert read_records(tmp_path, "f" * 64).schedules == {fast.workload: fast}


def test_bad_lines_are_passed_over_and_named(tmp_path: Path) -> None:
    write(tmp_path, "f" * 64, "garbage\n" + to_line(record()))
    records = read_records(tmp_path, "f" * 64)
    assert list(records.schedules) == [record().workload]
    assert len(records.passed_over) == 1
    assert records.passed_over[0].startswith(f"host/{'f' * 64}/one.jsonl:1: not JSON")


def test_records_of_another_target_are_never_read(tmp_path: Path) -> None:
    write(tmp_path, "e" * 64, to_line(record(fingerprint="e" * 64)))
    assert not read_records(tmp_path, "f" * 64).schedules


def test_copied_record_of_another_target_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "f" * 64, to_line(record(fingerprint="e" * 64)))
    records = read_records(tmp_path, "f" * 64)
    assert not records.schedules
    assert "another target" in records.passed_over[0]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as error:
        read_records(tmp_path / "nowhere", "f" * 64)
    assert "is not a folder of tuning records" in str(error.value)
    assert "fix: give a folder such as tuning_logs, or --records none" in str(error.value)


def test_record_is_replayed_before_any_rule(tmp_path: Path, models: Path) -> None:
    from compiler.onnx_import.load import load_model
    from compiler.onnx_import.to_relax import to_relax
    from compiler.pipeline import compile as compile_model
    from compiler.relax_program import extract_program
    from compiler.scheduling import distinct_workloads, trace_json, workload_hash
    from compiler.stages.graph_stages import graph_stages
    from compiler.stages.stage import run_stages
    from compiler.target_spec import load_target
    from compiler.tvm_target import tvm_target
    from schedules.cpu.conv2d import conv2d

    path, spec = models / "mnist_dscnn_f32.onnx", load_target("host")
    model = load_model(path)
    stages = graph_stages(spec)
    mod = run_stages(to_relax(model), stages, target=tvm_target(spec), report=lambda _: None)
    functions = distinct_workloads(mod, extract_program(mod, model)).functions
    name, schedule = next(
        (name, schedule)
        for name, func in functions.items()
        if (schedule := conv2d(func, spec)) is not None
    )
    first = compile_model(path, target=spec, output=tmp_path / "first", verify="skip", threads=1)
    fingerprint = first.manifest.target.fingerprint
    known = record(
        fingerprint=fingerprint,
        workload=workload_hash(functions[name]),
        trace=trace_json(schedule),
    )
    write(tmp_path / "logs", fingerprint, to_line(known))
    options: dict[str, Any] = {"target": spec, "records": tmp_path / "logs"}
    used = compile_model(path, output=tmp_path / "used", threads=1, **options)
    assert used.manifest.provenance.records_used == (known.id,)
    sources = {k["schedule"]["source"] for k in used.report()["kernels"]}
    assert sources == {"record", "rule", "fallback"}
    other = compile_model(path, output=tmp_path / "other", threads=2, verify="skip", **options)
    assert other.manifest.provenance.records_used == ()


def test_record_that_cannot_be_replayed_is_said() -> None:
    from tvm import te

    from compiler.scheduling import schedule_kernel, workload_hash
    from compiler.target_spec import load_target
    from compiler.tuning.store import Records

    source = te.placeholder((8, 8), name="source")
    func = te.create_prim_func([source, te.compute((8, 8), lambda i, j: source[j, i])])
    key = workload_hash(func)
    broken = record(workload=key, trace=[[["GetSBlock", [], ["nothing", "main"], ["b0"]]], []])
    kernel = schedule_kernel("k", func, 1, load_target("host"), Records(schedules={key: broken}))
    assert kernel.outcome.source == "fallback"
    assert f"record {broken.id} cannot be replayed" in kernel.outcome.reason
