"""A model built with each choice that is open, beside onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.pipeline import compile as compile_model
from compiler.target_spec import load_target
from compiler.tuning.decision import Decision
from compiler.tuning.target_key import target_key
from tests import choice_models as models
from tests.choice_models import lowered
from tests.onnx_models import save
from tests.tuning_records import choice_record, write

# The most options that one of the model's operators has, on any target that tests run on.
MOST_OPTIONS = 8


def _option(decision: Decision, number: int) -> dict[str, object]:
    """One option of each operator at a time: the last one again where there are fewer."""
    return decision.options[min(number, len(decision.options) - 1)]


@pytest.mark.parametrize(
    "number",
    [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, MOST_OPTIONS))],
)
def test_chosen_forms_give_the_same_numbers(number: int, tmp_path: Path) -> None:
    spec = load_target("host").with_cores(1)
    decisions = lowered(spec=spec).decisions
    assert all(len(one.options) <= MOST_OPTIONS for one in decisions)
    records = [
        choice_record(
            1.0, key=target_key(spec), signature=one.signature, choice=_option(one, number)
        )
        for one in decisions
    ]
    write(tmp_path / "logs", *records)
    path = save(models.choice_model(), tmp_path / "net.onnx")
    made = compile_model(path, target=spec, output=tmp_path / "out", records=tmp_path / "logs")
    assert json.loads(made.verification_path.read_text())["status"] == "passed"
    taken = {one["signature"]: one["choice"] for one in made.report()["choices"]}
    expected = {one.signature: one.choice for one in records if one.signature in taken}
    assert taken == expected
    assert models.BODY in taken
