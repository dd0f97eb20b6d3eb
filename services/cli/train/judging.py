"""Whether a model may serve: rankings of the held-out rows beside each other, and the rule.

The rule (`RULE`): a model is refused when its NDCG is not above that of the light score and of newest first,
or when it is below that of the serving model by more than chance makes, that is when the 95% interval of the
difference by session lies below 0. What is no worse within chance may serve: it was taught by newer days.
With fewer than `SESSIONS_MIN` sessions an interval says nothing, and the difference itself decides.

The serving model is scored again on held-out rows that it was not trained on: all of them when it was trained
before they begin, else those that it served itself, which are later than its training. What it was logged
with is shown beside it; what people saw on top has an advantage there that no other ranking has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.cli.train.material import AsServed
from services.scorpion import model_files
from services.scorpion.evaluation import auc, bootstrap_interval, ndcg_by_session
from services.scorpion.features import FeatureList
from services.scorpion.models import ModelRefused, load_model
from services.scorpion.training import TrainingData

MODEL: Final = "model"
SERVING: Final = "serving"
LOGGED: Final = "logged"
BASELINES: Final = {"light_score": "light score", "newest": "newest first"}
SESSIONS_MIN: Final = 30
"""Sessions that were engaged with; of fewer, an interval is not leaned on."""
RULE: Final = (
    "must rank above light score and newest first, and not below the serving model beyond chance (95% "
    f"interval of the difference by session; with fewer than {SESSIONS_MIN} sessions the difference itself)"
)
POSITIONS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of some held-out rows."""

    scores: NDArray[np.float64]
    rows: NDArray[np.intp]
    """Which of the held-out rows they are of; whole sessions."""
    comparable: bool = True
    """Whether scores of different sessions are on one scale, as AUC wants."""


def rankings_of(
    holdout: TrainingData, raw: NDArray[np.float64], served: AsServed | None
) -> dict[str, Ranking]:
    """The model, the baselines, and the scores as logged where they were."""
    every = np.arange(holdout.labels.size)
    rankings = {
        MODEL: Ranking(raw, every),
        "newest": Ranking(holdout.saved_ms.astype(np.float64), every),
        "light_score": Ranking(holdout.light_scores.astype(np.float64), every),
    }
    if served is not None:
        one = len(set(served.models.tolist())) == 1
        rankings[LOGGED] = Ranking(served.scores, every, comparable=one)
    return rankings


def serving_ranking(
    holdout: TrainingData, served: AsServed | None, folder: Path, features: FeatureList
) -> Ranking | None:
    """The serving model, on the rows that are fair to it; None when it cannot be compared."""
    last_ms = _last_trained_ms(folder)
    if last_ms is None:
        return None
    if last_ms < int(holdout.times_ms.min()):
        rows = np.arange(holdout.labels.size)
    elif served is not None:
        rows = np.flatnonzero(served.models == folder.name)
    else:
        return None
    try:
        model = load_model(folder, features)
    except ModelRefused:
        return None
    if not rows.size:
        return None
    return Ranking(model.score(np.ascontiguousarray(holdout.matrix[rows])).astype(np.float64), rows)


def judge(
    holdout: TrainingData, rankings: Mapping[str, Ranking], *, ndcg_k: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Metrics by ranking, None where undefined: NDCG@k with its 95% interval, the sessions that count, AUC.

    All but the model have, as `model_minus`, the difference to it on the rows that both have, too.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for name, ranking in rankings.items():
        labels, sessions = holdout.labels[ranking.rows], holdout.sessions[ranking.rows]
        mine = ndcg_by_session(ranking.scores, labels, sessions, k=ndcg_k, seed=seed)
        area = auc(ranking.scores, labels) if ranking.comparable else float("nan")
        counted = mine[~np.isnan(mine)]
        mean, interval = _estimate(counted, seed)
        metrics[name] = {
            f"ndcg_at_{ndcg_k}": mean,
            "interval": interval,
            "sessions": int(counted.size),
            "auc": None if np.isnan(area) else area,
        }
        if name != MODEL:
            scores = rankings[MODEL].scores[ranking.rows]
            less = ndcg_by_session(scores, labels, sessions, k=ndcg_k, seed=seed) - mine
            difference, interval = _estimate(less[~np.isnan(less)], seed)
            metrics[name]["model_minus"] = {"ndcg": difference, "interval": interval}
    return metrics


def refusal(metrics: Mapping[str, Mapping[str, Any]], *, metric: str, serving_name: str) -> tuple[str, str]:
    """Why a model may not serve by the rule, and which ranking says so; both empty when it may."""
    mine = metrics[MODEL][metric]
    if mine is None:
        return "nothing was engaged with on the held-out days, so it could not be judged", MODEL
    for ranking, words in BASELINES.items():
        other = metrics[ranking][metric]
        if other is not None and mine <= other:
            return f"it ranks no better than {words} ({mine:.4f} to {other:.4f})", ranking
    serving = metrics.get(SERVING)
    if serving is None or serving["model_minus"]["ndcg"] is None:
        return "", ""
    difference, interval = serving["model_minus"]["ndcg"], serving["model_minus"]["interval"]
    few = serving["sessions"] < SESSIONS_MIN
    if (difference < 0) if few else (interval[1] < 0):
        told = (
            f"in {serving['sessions']} sessions"
            if few
            else f"95% interval {interval[0]:+.4f} to {interval[1]:+.4f}"
        )
        return (
            f"{serving_name}, which serves, ranks better: NDCG differs by {difference:+.4f} ({told})",
            SERVING,
        )
    return "", ""


def engaged_by_position(labels: NDArray[np.float32], positions: NDArray[np.int64]) -> list[float]:
    """Share of pins that were engaged with by place on the page, the first `POSITIONS_MAX`; places that
    nobody saw are 0. How much of it is the place and how much the pin, nobody knows."""
    inside = positions < POSITIONS_MAX
    places = positions[inside]
    count = np.bincount(places)
    hits = np.bincount(places, weights=(labels[inside] > 0).astype(np.float64))
    return [round(float(share), 6) for share in hits / np.maximum(count, 1)]


def _last_trained_ms(folder: Path) -> int | None:
    """The last moment that the model was taught of; None when its card does not say."""
    try:
        card = json.loads((folder / model_files.CARD).read_text(encoding="utf-8"))
        return int(card["training"]["last_ms"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _estimate(values: NDArray[np.float64], seed: int) -> tuple[float | None, list[float] | None]:
    """Mean and its 95% interval; None of nothing, and one value has no interval."""
    if values.size < 2:
        return (float(values[0]) if values.size else None), None
    return float(values.mean()), list(bootstrap_interval(values, seed=seed))
