"""The results that the repository shows are those of its results files."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from compiler.pipeline import compile as compile_model
from compiler.runners.machine import this_machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
TARGETS = ROOT / "benchmarks" / "results" / "targets.json"
ACCURACY = ROOT / "benchmarks" / "results" / "quantized_accuracy.json"
EQUAL = ROOT / "benchmarks" / "results" / "equal_bytes.json"
INTEGERS = ROOT / "benchmarks" / "results" / "integer_accuracy.json"
TUNED = [path for path in RESULTS if path.name.startswith("tuned-")]
TRANSFER = [path for path in RESULTS if path.name.startswith("transfer-")]
COST = ROOT / "benchmarks" / "results" / "tuning_cost.json"
OTHERS = (TARGETS, ACCURACY, EQUAL, INTEGERS, COST, *TUNED, *TRANSFER)
SPEEDS = [path for path in RESULTS if path not in OTHERS]


def _benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_there_are_results() -> None:
    assert SPEEDS
    assert TUNED
    assert {TARGETS, ACCURACY, EQUAL, INTEGERS, COST} <= set(RESULTS)


def test_tables_of_targets_are_made_of_the_results() -> None:
    targets = _benchmark("targets")
    rows = targets.read_rows(TARGETS)
    assert TARGETS.with_suffix(".md").read_text(encoding="utf-8") == targets.table(rows)
    assert {row.status for row in rows if row.where} == {"passed"}
    assert {row.family for row in rows} == {"cpu", "mcu", "gpu"}


def test_readme_shows_the_tables_of_targets() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    overviews = TARGETS.with_suffix(".md").read_text(encoding="utf-8").split("\n\n")[1::3]
    assert len(overviews) == 3
    assert all(overview in readme for overview in overviews)


@pytest.mark.parametrize("path", TUNED, ids=lambda path: path.stem)
def test_tables_of_tuned_models_are_made_of_the_results(path: Path) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    table = path.with_suffix(".md").read_text(encoding="utf-8")
    assert table == _benchmark("tuned").table(rows)
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_table_of_transfer_is_made_of_the_results() -> None:
    benchmark = _benchmark("transfer")
    for path in TRANSFER:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        found = [benchmark.KernelTransfer(**row) for row in rows]
        shown = path.with_suffix(".md").read_text(encoding="utf-8")
        assert shown == benchmark.table(found)
        assert shown in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_what_tuning_costs_beside_stock() -> None:
    rows = json.loads(COST.read_text(encoding="utf-8"))["rows"]
    table = COST.with_suffix(".md").read_text(encoding="utf-8")
    assert table == _benchmark("tuning_cost").table(rows)
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_table_of_equal_bytes_is_made_of_the_results() -> None:
    benchmark = _benchmark("equal_bytes")
    rows = benchmark.read_rows(EQUAL)
    table = EQUAL.with_suffix(".md").read_text(encoding="utf-8")
    assert table == benchmark.table(rows)
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(row.equal == row.inputs or row.status for row in rows)


def test_table_of_integer_accuracy_is_made_of_the_results() -> None:
    benchmark = _benchmark("integer_accuracy")
    rows = benchmark.read_rows(INTEGERS)
    table = INTEGERS.with_suffix(".md").read_text(encoding="utf-8")
    assert table == benchmark.table(rows)
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_integers_are_as_near_to_onnxruntime_as_is_promised() -> None:
    for row in _benchmark("integer_accuracy").read_rows(INTEGERS):
        assert row.kernels_passed, row
        assert row.kernel_quanta <= 1, row
        if row.score_error is None:
            assert row.agreement >= row.optimized_agreement, row
        else:
            assert row.score_error <= 0.01, row
        if row.accuracy is not None:
            assert abs(row.accuracy - row.reference_accuracy) <= 0.002, row


def test_table_of_quantized_accuracy_is_made_of_the_results() -> None:
    accuracy = _benchmark("quantized_accuracy")
    rows = [accuracy.Row(**row) for row in json.loads(ACCURACY.read_text(encoding="utf-8"))]
    table = ACCURACY.with_suffix(".md").read_text(encoding="utf-8")
    assert table == accuracy.table(rows)
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_row_of_a_results_file_is_replaced_not_doubled(tmp_path: Path) -> None:
    targets = _benchmark("targets")
    row = {"model": "m", "family": "cpu", "where": ""}
    old = [
        targets.Row(target="x86-64-v3", status="failed", **row),
        targets.Row(target="rv64gc", status="passed", **row),
    ]
    rows = targets.merged(old, targets.Row(target="x86-64-v3", status="passed", **row))
    assert [(one.target, one.status) for one in rows] == [
        ("rv64gc", "passed"),
        ("x86-64-v3", "passed"),
    ]
    targets.write_rows(tmp_path / "targets.json", rows)
    assert targets.read_rows(tmp_path / "targets.json") == rows


def test_measured_row_says_what_the_artifact_says(tmp_path: Path) -> None:
    model = ROOT / "tests" / "models" / "mlperf_tiny_ad_autoencoder_f32.onnx"
    row = _benchmark("targets").measure(model, "x86-64-v3")
    made = compile_model(
        model, target="x86-64-v3", output=tmp_path / "made", exact=True, verify="skip"
    )
    totals = made.report()["totals"]
    assert row.status == "passed"
    assert row.where == this_machine().cpu
    assert row.arena_bytes == totals["arena_bytes"]
    assert row.library_bytes == made.library_path.stat().st_size
    assert row.instruction_count is None  # nothing counts them on this machine itself


@pytest.mark.parametrize("path", SPEEDS, ids=lambda path: path.stem)
def test_table_is_made_of_the_results(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    table = _benchmark("untuned").table(document)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == table
    assert {one["settings"]["records"] for one in document["results"]} == {"none"}


def test_readme_shows_a_table_of_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = [path.with_suffix(".md").read_text(encoding="utf-8") for path in SPEEDS]
    assert any(table.split("\n\n")[0] in readme for table in tables)
