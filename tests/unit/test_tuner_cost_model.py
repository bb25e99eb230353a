"""The cost model: what it learns, keeps, and says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.tuner.cost_model import FILE, LEAST_SAMPLES, CostModel, Sample, spearman


def samples(count: int, seed: int = 1) -> list[Sample]:
    """The nearer the first feature is to 3, the faster; the others say nothing."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, 6, size=(count, 5)).astype(np.float32)
    return [Sample(row=row, speed=-abs(float(row[0]) - 3.0)) for row in rows]


def trained(folder: Path, count: int) -> CostModel:
    model = CostModel(folder)
    for sample in samples(count):
        model.add(sample)
    model.train()
    return model


def correlation(model: CostModel, seed: int = 9) -> float:
    unseen = samples(60, seed)
    predicted = model.predict([one.row for one in unseen])
    return spearman(predicted, np.array([one.speed for one in unseen]))


def test_nothing_is_learnt_of_too_little(tmp_path: Path) -> None:
    model = trained(tmp_path, LEAST_SAMPLES - 1)
    assert not model.is_useful
    assert model.predict([samples(1)[0].row]).tolist() == [0.0]
    assert model.rank_correlation is None
    model.save()
    assert not (tmp_path / FILE).exists()


def test_eight_trials_are_of_use_and_more_of_more(tmp_path: Path) -> None:
    few, many = trained(tmp_path, LEAST_SAMPLES), trained(tmp_path, 48)
    assert few.is_useful
    assert correlation(few) > 0.25
    assert correlation(many) > 0.8


def test_what_was_learnt_is_kept_and_trained_further(tmp_path: Path) -> None:
    first = trained(tmp_path / "a", 48)
    first.save()
    again = CostModel(tmp_path / "a")
    assert again.is_useful
    assert correlation(again) == pytest.approx(correlation(first))
    for sample in samples(24, seed=5):
        again.add(sample)
    again.train()
    assert correlation(again) >= correlation(first) - 0.02
    again.save()
    assert CostModel(tmp_path / "a").is_useful
    assert [path.name for path in (tmp_path / "a").iterdir()] == [FILE]  # nothing half written


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"features_version": 1, "model": {}}', '{"features_version": 0}']
)
def test_a_kept_model_that_is_none_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert not CostModel(tmp_path).is_useful


def test_the_model_says_how_well_it_ranks(tmp_path: Path) -> None:
    """By what it predicted before it was told: not by what it learnt by heart."""
    model = trained(tmp_path, 40)
    assert model.rank_correlation is None
    for sample in samples(20, seed=7):
        model.add(sample)
    assert model.rank_correlation is not None
    assert model.rank_correlation > 0.7
    for sample in samples(64, seed=8):
        model.add(Sample(row=sample.row, speed=-sample.speed))
    assert model.rank_correlation < -0.7


def test_rank_correlation() -> None:
    one = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(one, one**3) == pytest.approx(1.0)
    assert spearman(one, -one) == pytest.approx(-1.0)
    assert spearman(one, np.zeros(4)) == 0.0
    assert spearman(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(
        0.866, abs=1e-3
    )
