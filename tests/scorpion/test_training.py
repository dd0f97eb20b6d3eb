"""Training splits by time, learns, and is repeatable."""

from __future__ import annotations

from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pytest

from services.chassis.errors import BadRequest, InvalidColumns
from services.scorpion.evaluation import ndcg_at
from services.scorpion.training import split_by_time, train
from tests.scorpion.synthetic import Trained


def test_model_beats_both_baselines_on_the_held_out_day(trained: Trained) -> None:
    metrics = trained.model.card["metrics"]
    for name in ("ndcg_at_10", "auc"):
        assert metrics["model"][name] > metrics["newest"][name] + 0.1
        assert metrics["model"][name] > metrics["light_score"][name] + 0.1


def test_same_seed_gives_the_same_model(trained: Trained) -> None:
    again = train(trained.features, trained.data, trained.options)
    assert again.text == trained.model.text
    assert again.card == trained.model.card
    assert again.sample.rows.tobytes() == trained.model.sample.rows.tobytes()


def test_order_of_the_sessions_does_not_change_the_split(trained: Trained) -> None:
    data = trained.data
    turned = data.rows(np.arange(data.labels.size)[::-1])
    before, after = split_by_time(data, holdout_days=1.0)
    before_turned, after_turned = split_by_time(turned, holdout_days=1.0)
    assert set(data.sessions[before]) == set(turned.sessions[before_turned])
    assert set(data.sessions[after]) == set(turned.sessions[after_turned])


def test_sessions_lie_whole_on_one_side_of_the_cut(trained: Trained) -> None:
    data = trained.data
    # Each session now lasts a day, so that many reach over the cut.
    long = replace(data, times_ms=data.times_ms + np.arange(data.labels.size) % 18 * 4_800_000)
    before, after = split_by_time(long, holdout_days=1.0)
    assert not set(long.sessions[before]) & set(long.sessions[after])
    assert before.size + after.size == data.labels.size
    assert long.times_ms[before].min() < long.times_ms[after].min()


def test_rows_of_a_session_stand_together_after_the_split(trained: Trained) -> None:
    shuffled = trained.data.rows(np.random.default_rng(0).permutation(trained.data.labels.size))
    before, _ = split_by_time(shuffled, holdout_days=1.0)
    sessions = shuffled.sessions[before]
    changes = np.count_nonzero(sessions[1:] != sessions[:-1])
    assert changes == np.unique(sessions).size - 1


def test_lambdarank_learns_from_shuffled_rows(trained: Trained) -> None:
    data = trained.data.rows(np.random.default_rng(0).permutation(trained.data.labels.size))
    model = train(trained.features, data, replace(trained.options, objective="lambdarank"))
    assert model.card["metrics"]["model"]["ndcg_at_10"] > 0.8
    assert "objective=lambdarank" in model.text


def test_card_tells_what_the_model_was_trained_on(trained: Trained) -> None:
    card = trained.model.card
    assert card["training"]["rows"] + card["holdout"]["rows"] == trained.data.labels.size
    assert card["training"]["last_ms"] < card["holdout"]["first_ms"]
    assert card["feature_digests"] == trained.features.digests
    assert next(iter(card["gain"])) == "quality"


def test_sample_holds_the_raw_scores_of_the_booster(trained: Trained) -> None:
    sample = trained.model.sample
    booster = lgb.Booster(model_str=trained.model.text)
    assert sample.rows.shape == (32, len(trained.features.names))
    assert np.array_equal(booster.predict(sample.rows, raw_score=True), sample.raw)


def test_metrics_of_the_card_are_those_of_the_held_out_rows(trained: Trained) -> None:
    _, held = split_by_time(trained.data, holdout_days=1.0)
    holdout = trained.data.rows(held)
    light = ndcg_at(holdout.light_scores.astype(np.float64), holdout.labels, holdout.sessions, k=10, seed=1)
    assert trained.model.card["metrics"]["light_score"]["ndcg_at_10"] == pytest.approx(light)


def test_data_that_cannot_teach_is_refused(trained: Trained) -> None:
    data, options = trained.data, trained.options
    with pytest.raises(BadRequest, match="positive"):
        train(trained.features, replace(data, labels=np.zeros_like(data.labels)), options)
    with pytest.raises(BadRequest, match="side empty"):
        train(trained.features, data, replace(options, holdout_days=30.0))
    with pytest.raises(BadRequest, match="no rows"):
        train(trained.features, data.rows(np.empty(0, dtype=np.intp)), options)


def test_columns_that_do_not_fit_are_refused(trained: Trained) -> None:
    data = trained.data
    with pytest.raises(InvalidColumns, match="matrix"):
        train(trained.features, replace(data, matrix=data.matrix[:, 1:]), trained.options)
    with pytest.raises(InvalidColumns, match="saved_ms"):
        train(trained.features, replace(data, saved_ms=data.saved_ms[1:]), trained.options)
    holed = data.matrix.copy()
    holed[0, 0] = np.nan
    with pytest.raises(InvalidColumns, match="finite"):
        train(trained.features, replace(data, matrix=holed), trained.options)
