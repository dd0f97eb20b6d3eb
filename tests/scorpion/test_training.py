"""Training splits by time, learns, and is repeatable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from services.chassis.errors import BadRequest, InvalidColumns
from services.scorpion.evaluation import ndcg_at
from services.scorpion.feature_file import parse_feature_list
from services.scorpion.models import load_model
from services.scorpion.training import TrainingData, TrainingOptions, split_by_time, train, write_model
from tests.scorpion.synthetic import HOUR_MS, Trained


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


def test_a_column_that_never_varies_does_no_harm(trained: Trained, tmp_path: Path) -> None:
    # As visits of a walk are in a replay of the event log, which has no record of them.
    constant = trained.data.matrix.copy()
    columns = [trained.features.names.index(name) for name in ("pixie_visits", "pixie_board_visits")]
    constant[:, columns] = 0
    model = train(trained.features, replace(trained.data, matrix=constant), trained.options)
    assert [model.card["splits"][trained.features.names[column]] for column in columns] == [0, 0]
    write_model(tmp_path, "v1", model.text, model.card, model.sample)
    loaded = load_model(tmp_path / "v1", trained.features)
    walked = constant.copy()
    walked[:, columns] = 9
    np.testing.assert_array_equal(loaded.score(walked), loaded.score(constant))


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


def test_lambdarank_optimises_the_gains_that_it_is_judged_by(trained: Trained) -> None:
    data = replace(trained.data, labels=trained.data.labels * 3)
    model = train(trained.features, data, replace(trained.options, objective="lambdarank"))
    assert model.card["parameters"]["label_gain"] == [0, 1, 2, 3]
    assert "[label_gain: 0,1,2,3]" in model.text


def test_a_category_is_split_into_sets_of_codes() -> None:
    features = parse_feature_list(
        """
        [[feature]]
        name = "kind"
        source = "pin.kind"
        type = "category"
        default = -1.0
        [[feature]]
        name = "quality"
        source = "pin.quality"
        """
    )
    draw = np.random.default_rng(4)
    count, size = 4_000, 10
    kinds = draw.integers(0, 8, count)
    times_ms = 1_700_000_000_000 + np.repeat(np.arange(count // size), size) * (72 * HOUR_MS * size // count)
    data = TrainingData(
        matrix=np.stack([kinds, draw.random(count)], axis=1).astype(np.float32),
        # No threshold tells these from the others.
        labels=np.isin(kinds, (1, 4, 6)).astype(np.float32),
        sessions=np.repeat(np.arange(count // size, dtype=np.int64), size),
        times_ms=times_ms,
        saved_ms=times_ms,
        light_scores=np.zeros(count, np.float32),
    )
    model = train(features, data, TrainingOptions(tree_count=3, leaves=4, threads=1))
    assert model.card["categories"] == ["kind"]
    assert "cat_threshold=" in model.text
    assert model.card["metrics"]["model"]["auc"] == 1.0


def test_progress_is_told_tree_by_tree(trained: Trained) -> None:
    told: list[tuple[int, int]] = []
    train(trained.features, trained.data, trained.options, lambda done, total: told.append((done, total)))
    assert told == [(tree, 20) for tree in range(1, 21)]


def test_held_out_scores_are_those_of_the_held_out_rows(trained: Trained) -> None:
    model = trained.model
    assert model.held_out.tolist() == split_by_time(trained.data, holdout_days=1.0)[1].tolist()
    booster = lgb.Booster(model_str=model.text)
    rows = trained.data.matrix[model.held_out]
    assert np.array_equal(booster.predict(rows, raw_score=True), model.held_out_raw)


def test_a_negative_label_is_refused(trained: Trained) -> None:
    with pytest.raises(InvalidColumns, match="negative"):
        train(trained.features, replace(trained.data, labels=trained.data.labels - 1), trained.options)
