"""Choice records in builds: taken for exactly their target, said in the report, within limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.artifact.manifest import Artifact
from compiler.errors import LimitError
from compiler.pipeline import compile as compile_model
from compiler.record_coverage import record_coverage
from compiler.target_spec import TargetSpec, load_target
from compiler.tuning.record import ChoiceRecord
from compiler.tuning.target_key import target_key
from tests import choice_models as models
from tests.choice_models import lowered
from tests.lowered import loaded
from tests.onnx_models import save
from tests.tuning_records import choice_record, rejection, write

PLAIN_STEM = choice_record(1.0, signature=models.STEM, choice={"algorithm": "direct", "block": 1})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(models.choice_model(), tmp_path_factory.mktemp("model") / "net.onnx")


@pytest.fixture(scope="module")
def spec() -> TargetSpec:
    return load_target("host").with_cores(1)


def of(spec: TargetSpec, record: ChoiceRecord, **changes: Any) -> ChoiceRecord:
    return replace(record, target=target_key(spec), **changes)


def build(path: Path, spec: TargetSpec, output: Path, logs: Path | None, **more: Any) -> Artifact:
    return compile_model(path, target=spec, output=output, records=logs, verify="skip", **more)


def stem(artifact: Artifact) -> str:
    return next(
        str(call["kernel"])
        for call in artifact.report()["kernels"]
        if call["onnx_nodes"] == ["stem"]
    )


def test_a_choice_is_taken_and_said(path: Path, spec: TargetSpec, tmp_path: Path) -> None:
    record = of(spec, PLAIN_STEM)
    write(tmp_path / "logs", record)
    made = compile_model(path, target=spec, output=tmp_path / "out", records=tmp_path / "logs")
    assert json.loads(made.verification_path.read_text())["status"] == "passed"
    assert stem(made) == "conv2d_float32_1x16x20x20"
    assert made.manifest.provenance.records_used == (record.id,)
    assert made.report()["choices"] == [
        {
            "signature": models.STEM,
            "choice": {"algorithm": "direct", "block": 1},
            "record": record.id,
            "passed_over": "",
        }
    ]


def test_unrelated_choices_change_no_byte(path: Path, spec: TargetSpec, tmp_path: Path) -> None:
    """Of other operators, other targets and threads; slower, failed and rejected ones."""
    logs, other = tmp_path / "logs", load_target("znver4").with_cores(1)
    write(logs, choice_record(1.0))
    before = build(path, spec, tmp_path / "before", logs)
    assert "choices" not in before.report()
    rejected = of(spec, PLAIN_STEM, signature=models.BODY)
    write(
        logs,
        *(of(spec, choice_record(1.0)), of(spec, PLAIN_STEM, measurement=PLAIN_STEM.default)),
        of(spec, choice_record(None, outcome="crashed"), signature=models.HEAD),
        *(rejected, rejection(rejected)),
    )
    write(logs, of(other, PLAIN_STEM))
    write(logs, of(spec.with_cores(2), PLAIN_STEM))
    after = build(path, spec, tmp_path / "after", logs)
    assert after.manifest == before.manifest


@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-a72", "neoverse-n1"])
def test_znver4_choices_are_never_applied_to_another_target(target: str, tmp_path: Path) -> None:
    znver4, spec = load_target("znver4"), load_target(target)
    write(tmp_path, of(znver4, PLAIN_STEM))
    model = loaded(models.choice_model())
    own = record_coverage(model, znver4, tmp_path)
    assert [one.signature for one in own.choices] == [models.STEM]
    other = record_coverage(model, spec, tmp_path)
    assert other.choices == ()
    kernels = {one.kernel for one in other.kernels}
    assert kernels == set(lowered(model=model, spec=spec).workloads.functions)


def test_exact_builds_have_no_winograd(path: Path, spec: TargetSpec, tmp_path: Path) -> None:
    tiles = {"algorithm": "winograd", "block": 8, "tile": 2, "chunks": [10, 2], "chunk": [1, 5]}
    block = spec.lanes(dtype_bits=32)
    record = of(spec, PLAIN_STEM, signature=models.BODY, choice={**tiles, "block": block})
    write(tmp_path / "logs", record)
    made = build(path, spec, tmp_path / "out", tmp_path / "logs", exact=True)
    assert all("winograd" not in call["kernel"] for call in made.report()["kernels"])
    (said,) = made.report()["choices"]
    assert said["passed_over"] == "no Winograd where sums are to be exact"
    assert made.manifest.provenance.records_used == ()


def test_a_choice_that_breaks_a_limit_is_passed_over(spec: TargetSpec, tmp_path: Path) -> None:
    """Apart, attention has its score matrix in the arena."""
    model, logs, out = models.scores_model(), tmp_path / "logs", tmp_path / "out"
    (decision,) = lowered(model=loaded(model), spec=spec).decisions
    apart = {"algorithm": "apart"}
    write(logs, of(spec, PLAIN_STEM, signature=decision.signature, choice=apart))
    path = save(model, tmp_path / "net.onnx")
    need = build(path, spec, out, None).manifest.memory.arena_bytes
    apart_bytes = build(path, spec, out, logs).manifest.memory.arena_bytes
    assert apart_bytes > need
    said: list[str] = []
    made = build(path, spec, out, logs, limits={"ram_bytes": need}, warn=said.append)
    assert made.manifest.memory.arena_bytes == need
    (outcome,) = made.report()["choices"]
    assert outcome["passed_over"].startswith("over a limit with the choices of records: ")
    assert said == [f"choices of records passed over: {outcome['passed_over']}"]
    assert made.manifest.provenance.records_used == ()
    with pytest.raises(LimitError):
        build(path, spec, out, logs, limits={"ram_bytes": need // 2})


def test_coverage_says_what_is_chosen(spec: TargetSpec, tmp_path: Path) -> None:
    record = of(spec, PLAIN_STEM)
    write(tmp_path, record)
    coverage = record_coverage(loaded(models.choice_model()), spec, tmp_path)
    (one,) = coverage.choices
    assert (one.signature, one.record, one.passed_over) == (models.STEM, record.id, "")
    assert "conv2d_float32_1x16x20x20" in {kernel.kernel for kernel in coverage.kernels}
