"""The benchmark that counts inputs with equal bytes: its rows, its table, how it goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import equal_bytes
from benchmarks.equal_bytes import Case, Row, case_of, measure, measure_all, merged, table

AUTOENCODER = Path(__file__).parents[1] / "models" / "mlperf_tiny_ad_autoencoder_qdq8.onnx"


def _row(model: str, target: str, equal: int | None, status: str = "") -> Row:
    where = "" if equal is None else "QEMU"
    return Row(model=model, target=target, inputs=20, equal=equal, where=where, status=status)


def test_table_says_how_many_and_why_not() -> None:
    refused = "does not fit: needs 2 bytes"
    rows = [_row("a", "host", 20), _row("b", "host", 19), _row("a", "cortex-m7", None, refused)]
    assert table(rows).splitlines()[2:] == [
        "| host | 20 of 20 | 19 of 20 | QEMU |",
        "| cortex-m7 | does not fit | - | not run |",
    ]


def test_new_rows_take_the_place_of_old_ones() -> None:
    old = [_row("a", "cortex-m7", 3), _row("a", "x86-64-v3", 20)]
    made = merged(old, [_row("a", "cortex-m7", 20)])
    assert made == [old[1], _row("a", "cortex-m7", 20)]


def test_what_the_file_has_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(_: Case, target: str, __: int | None) -> Row:
        ran.append(target)
        return _row(AUTOENCODER.stem, target, 20)

    monkeypatch.setattr(equal_bytes, "measure", run)
    monkeypatch.setattr(equal_bytes, "case_of", lambda *_: None)
    results = tmp_path / "rows.json"
    for targets in (["x86-64-v3"], ["x86-64-v3", "cortex-m7"]):
        measure_all([AUTOENCODER], targets, results, count=20, again=False, report=lambda _: None)
    assert ran == ["x86-64-v3", "cortex-m7"]
    assert len(equal_bytes.read_rows(results)) == 2


@pytest.mark.slow
def test_one_wrong_byte_is_seen() -> None:
    case = case_of(AUTOENCODER, 3)
    assert measure(case, "host").equal == 3
    wrong = next(iter(case.expected[1].values()))
    wrong.view(np.uint8).reshape(-1)[7] ^= 1
    assert measure(case, "host").equal == 2
