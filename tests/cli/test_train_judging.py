"""The rule by which a model may serve, and rankings that are compared fairly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.cli.train.feature_rows import read_rows
from services.cli.train.history import History
from services.cli.train.joining import joined
from services.cli.train.judging import (
    LOGGED,
    MODEL,
    SERVING,
    SESSIONS_MIN,
    engaged_by_position,
    judge,
    rankings_of,
    refusal,
    serving_ranking,
)
from services.cli.train.material import AsServed, Material
from services.scorpion.training import TrainingData, TrainingOptions, train, write_model
from tests.cli.feature_logs import FEATURES, HOUR_MS, T0, pages, write_log

METRIC = "ndcg_at_10"
FEW = SESSIONS_MIN - 1


def material(tmp_path: Path, *, model: str = "old", count: int = 80) -> Material:
    """Pages on which the taste is what people engage with."""
    found = read_rows(
        [write_log(tmp_path / "log", pages(count, size=8, model=model))], FEATURES.digests, rows_max=10_000
    )
    made = joined(found, History(), window_ms=HOUR_MS)
    return replace(made, data=replace(made.data, labels=(made.data.matrix[:, 0] > 0.7).astype(np.float32)))


def write_trained(tmp_path: Path, data: TrainingData, name: str = "old") -> Path:
    model = train(FEATURES, data, TrainingOptions(tree_count=4, leaves=4, threads=1))
    return write_model(tmp_path / "models", name, model.text, model.card, model.sample)


def metrics(*, light: float = 0.2, difference: float = 0.0, high: float = 0.1, sessions: int = 100) -> Any:
    """Of a model at 0.5, newest first at 0.1."""
    return {
        MODEL: {METRIC: 0.5},
        "light_score": {METRIC: light},
        "newest": {METRIC: 0.1},
        SERVING: {
            METRIC: 0.5 - difference,
            "sessions": sessions,
            "model_minus": {"ndcg": difference, "interval": [-0.5, high]},
        },
    }


@pytest.mark.parametrize(
    ("told", "against"),
    [
        pytest.param(metrics(), "", id="as good as the serving one"),
        pytest.param(metrics(difference=-0.02, high=0.01), "", id="worse, within chance"),
        pytest.param(metrics(difference=-0.02, high=-0.001), SERVING, id="worse, beyond chance"),
        pytest.param(metrics(light=0.5), "light_score", id="no better than light score"),
        pytest.param(
            metrics(difference=-0.02, high=0.01, sessions=SESSIONS_MIN - 1),
            SERVING,
            id="worse, in few sessions",
        ),
        pytest.param(
            metrics(difference=0.02, high=-0.1, sessions=SESSIONS_MIN - 1), "", id="better, in few sessions"
        ),
    ],
)
def test_the_rule(told: Any, against: str) -> None:
    reason, found = refusal(told, metric=METRIC, serving_name="old")
    assert found == against
    assert bool(reason) == bool(against)


def test_what_could_not_be_judged_is_refused() -> None:
    told = metrics() | {MODEL: {METRIC: None}}
    assert "could not be judged" in refusal(told, metric=METRIC, serving_name="old")[0]


def test_a_model_from_before_the_held_out_rows_is_compared_on_all_of_them(tmp_path: Path) -> None:
    made = material(tmp_path)
    early = made.data.rows(np.flatnonzero(made.data.times_ms < T0 + 40 * HOUR_MS))
    late = made.data.rows(np.flatnonzero(made.data.times_ms >= T0 + 40 * HOUR_MS))
    ranking = serving_ranking(late, None, write_trained(tmp_path, early), FEATURES)
    assert ranking is not None
    assert ranking.rows.size == late.labels.size


def test_a_model_that_saw_the_held_out_rows_is_compared_on_those_it_served(tmp_path: Path) -> None:
    made = material(tmp_path)
    assert made.served is not None
    folder = write_trained(tmp_path, made.data)
    assert serving_ranking(made.data, None, folder, FEATURES) is None
    models = made.served.models.copy()
    models[: models.size // 2] = "older"
    served = replace(made.served, models=models)
    ranking = serving_ranking(made.data, served, folder, FEATURES)
    assert ranking is not None
    assert ranking.rows.tolist() == list(range(models.size // 2, models.size))
    nobody = replace(served, models=np.full(models.size, "another", np.object_))
    assert serving_ranking(made.data, nobody, folder, FEATURES) is None


def test_a_serving_model_that_cannot_be_loaded_is_not_compared(tmp_path: Path) -> None:
    made = material(tmp_path)
    folder = write_trained(tmp_path, made.data)
    (folder / "model.txt").write_text("cut off")
    assert serving_ranking(made.data, made.served, folder, FEATURES) is None
    assert serving_ranking(made.data, made.served, folder.with_name("absent"), FEATURES) is None


def test_scores_of_several_models_have_no_auc(tmp_path: Path) -> None:
    made = material(tmp_path, count=20)
    assert made.served is not None
    raw = made.data.matrix[:, 0].astype(np.float64)
    one = judge(made.data, rankings_of(made.data, raw, made.served), ndcg_k=10, seed=1)
    models = made.served.models.copy()
    models[:8] = "another"
    mixed = AsServed(made.served.scores, models, made.served.positions)
    two = judge(made.data, rankings_of(made.data, raw, mixed), ndcg_k=10, seed=1)
    assert one[LOGGED]["auc"] is not None
    assert two[LOGGED]["auc"] is None
    assert one[LOGGED][METRIC] == two[LOGGED][METRIC]


def test_differences_are_of_the_rows_that_both_have(tmp_path: Path) -> None:
    made = material(tmp_path, count=40)
    raw = made.data.matrix[:, 0].astype(np.float64)
    rankings = rankings_of(made.data, raw, made.served)
    told = judge(made.data, rankings, ndcg_k=10, seed=1)
    assert told[MODEL][METRIC] == 1.0
    for name in ("light_score", "newest", LOGGED):
        assert told[name]["model_minus"]["ndcg"] == pytest.approx(1.0 - told[name][METRIC])
        low, high = told[name]["model_minus"]["interval"]
        assert 0 < low < told[name]["model_minus"]["ndcg"] < high


def test_engagement_by_place_is_a_share_of_those_who_saw_it() -> None:
    labels = np.array([1, 0, 3, 0, 0], np.float32)
    assert engaged_by_position(labels, np.array([0, 0, 1, 3, 99])) == [0.5, 1.0, 0.0, 0.0]
