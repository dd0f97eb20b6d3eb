"""Training, the pure offline part: columns in, a LightGBM booster and its card out.

`feedmesh train` makes `TrainingData`, of the rows that serving logged or of features computed anew from the
event log, calls `train`, then `write_model` and `promote` (`model_files.py`). The split is by time, and whole
sessions lie on one side: a random split would let the model see the future of the rows that it is judged on.
The same data, options and seed give the same model text (LightGBM's deterministic mode).
Refuses data that cannot teach: no positive, no negative, no session before or after the cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import BadRequest, InvalidColumns
from services.scorpion.evaluation import auc, ndcg_at
from services.scorpion.features import FeatureList
from services.scorpion.model_files import Sample, promote, write_model

__all__ = ["TrainedModel", "TrainingData", "TrainingOptions", "promote", "train", "write_model"]

Progress: TypeAlias = Callable[[int, int], None]

_MS_PER_DAY = 86_400_000
_CATEGORY: Final = "category"
"""`Feature.type` of an integer code, which the trees split into sets."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Rows of shown candidates, aligned, in any order."""

    matrix: NDArray[np.float32]
    """(row, feature), as `FeatureList` makes it."""
    labels: NDArray[np.float32]
    """0: shown and left; greater: what the user did (a gain; for lambdarank a whole number, at most 30)."""
    sessions: NDArray[np.int64]
    """Which rows were shown together."""
    times_ms: NDArray[np.int64]
    """When the row was shown."""
    saved_ms: NDArray[np.int64]
    """When the pin was saved: the reverse-chronological baseline."""
    light_scores: NDArray[np.float32]
    """The light score at that time: the other baseline."""

    def rows(self, chosen: NDArray[np.intp]) -> TrainingData:
        """The chosen rows, in that order."""
        return TrainingData(
            self.matrix[chosen],
            self.labels[chosen],
            self.sessions[chosen],
            self.times_ms[chosen],
            self.saved_ms[chosen],
            self.light_scores[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How to train. The defaults suit some 10,000 to some million rows."""

    objective: Literal["binary", "lambdarank"] = "binary"
    tree_count: int = 100
    leaves: int = 31
    learning_rate: float = 0.1
    rows_per_leaf_min: int = 20
    holdout_days: float = 1.0
    """Sessions of the last days are not trained on, but judged."""
    ndcg_k: int = 10
    sample_rows: int = 256
    """Rows recorded beside the model, which serving must score the same."""
    seed: int = 1
    threads: int = 0
    """0: all cores."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What `write_model(directory, name, model.text, model.card, model.sample)` writes."""

    text: str
    card: dict[str, Any]
    sample: Sample
    held_out: NDArray[np.intp]
    """Rows of the data that were judged, not trained on."""
    held_out_raw: NDArray[np.float64]
    """The model's raw scores of them."""


def train(
    features: FeatureList, data: TrainingData, options: TrainingOptions, progress: Progress | None = None
) -> TrainedModel:
    """Train, and judge on the held-out days against two baselines. Blocks for seconds to minutes.

    `progress` is called with the trees made, and those to make.
    Raises InvalidColumns on columns that are not aligned, BadRequest on data that cannot teach.
    """
    _check(features, data)
    train_rows, holdout_rows = split_by_time(data, holdout_days=options.holdout_days)
    training, holdout = data.rows(train_rows), data.rows(holdout_rows)
    if not 0 < np.count_nonzero(training.labels) < training.labels.size:
        raise BadRequest("the sessions before the held-out days have no positive, or no negative rows")
    parameters = fit_parameters(options, label_max=int(data.labels.max()))
    booster = _fit(features, training, parameters, options.tree_count, progress)
    raw = np.asarray(booster.predict(holdout.matrix, raw_score=True), dtype=np.float64)
    card: dict[str, Any] = {
        "trees": booster.num_trees(),
        "features": list(features.names),
        "feature_digests": features.digests,
        "objective": options.objective,
        "categories": categories(features),
        "options": asdict(options),
        "parameters": parameters,
        "training": _described(training),
        "holdout": _described(holdout),
        "metrics": evaluate(holdout, raw, ndcg_k=options.ndcg_k, seed=options.seed),
        "gain": _importances(booster, "gain"),
        "splits": _importances(booster, "split"),
        "lightgbm": lgb.__version__,
    }
    chosen = np.random.default_rng(options.seed).permutation(holdout_rows.size)[: options.sample_rows]
    sample = Sample(rows=holdout.matrix[chosen], raw=raw[chosen])
    return TrainedModel(
        text=booster.model_to_string(), card=card, sample=sample, held_out=holdout_rows, held_out_raw=raw
    )


def fit_parameters(options: TrainingOptions, *, label_max: int) -> dict[str, Any]:
    """What LightGBM is told; `label_max` is the greatest label of all."""
    parameters: dict[str, Any] = {
        "objective": options.objective,
        "num_leaves": options.leaves,
        "learning_rate": options.learning_rate,
        "min_data_in_leaf": options.rows_per_leaf_min,
        "seed": options.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": options.threads,
        "verbosity": -1,
    }
    if options.objective == "lambdarank":
        # LightGBM's own gains are 2^label - 1. The labels are gains here already, and a model is judged by
        # them: what is optimised and what is measured would be two things.
        parameters["label_gain"] = list(range(label_max + 1))
    return parameters


def categories(features: FeatureList) -> list[str]:
    """Names of the features that are codes, not quantities."""
    return [feature.name for feature in features.features if getattr(feature, "type", "") == _CATEGORY]


def evaluate(
    data: TrainingData, scores: NDArray[np.float64], *, ndcg_k: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """NDCG@k and AUC of the scores, of the newest first, and of the light score; None where undefined."""
    rankings = {
        "model": scores,
        "newest": data.saved_ms.astype(np.float64),
        "light_score": data.light_scores.astype(np.float64),
    }
    metrics: dict[str, dict[str, float | None]] = {}
    for name, ranked in rankings.items():
        ndcg = ndcg_at(ranked, data.labels, data.sessions, k=ndcg_k, seed=seed)
        values = {f"ndcg_at_{ndcg_k}": ndcg, "auc": auc(ranked, data.labels)}
        metrics[name] = {key: None if np.isnan(value) else value for key, value in values.items()}
    return metrics


def split_by_time(data: TrainingData, *, holdout_days: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to train on and rows to judge: sessions that begin in the last `holdout_days` are held out.

    Both ascend by session start, then session. Raises BadRequest when a side would be empty.
    """
    if data.labels.size == 0:
        raise BadRequest("no rows to train on")
    _, session = np.unique(data.sessions, return_inverse=True)
    starts = np.full(int(session.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(starts, session, data.times_ms)
    row_starts = starts[session]
    cut = int(row_starts.max()) - int(holdout_days * _MS_PER_DAY)
    order = np.lexsort((np.arange(session.size), session, row_starts))
    held = row_starts[order] > cut
    if held.all() or not held.any():
        span_days = (int(row_starts.max()) - int(row_starts.min())) / _MS_PER_DAY
        raise BadRequest(
            f"the sessions span {span_days:.2f} days: holding out the last {holdout_days} leaves a side empty"
        )
    return order[~held], order[held]


def _fit(
    features: FeatureList,
    data: TrainingData,
    parameters: dict[str, Any],
    tree_count: int,
    progress: Progress | None,
) -> lgb.Booster:
    ranking = parameters["objective"] == "lambdarank"
    # Rows of a session stand together (split_by_time orders them so), which lambdarank's groups need.
    changes = np.flatnonzero(np.r_[True, data.sessions[1:] != data.sessions[:-1], True])
    dataset = lgb.Dataset(
        data.matrix,
        label=data.labels if ranking else (data.labels > 0).astype(np.float32),
        group=np.diff(changes) if ranking else None,
        feature_name=list(features.names),
        categorical_feature=categories(features),
        free_raw_data=True,
        params={"verbosity": -1},
    )
    callbacks = [] if progress is None else [lambda made: progress(made.iteration + 1, tree_count)]
    return lgb.train(parameters, dataset, num_boost_round=tree_count, callbacks=callbacks)


def _check(features: FeatureList, data: TrainingData) -> None:
    rows = data.labels.size
    if data.matrix.shape != (rows, len(features.names)):
        raise InvalidColumns(
            f"the matrix is of shape {data.matrix.shape}, expected ({rows}, {len(features.names)})"
        )
    for name in ("sessions", "times_ms", "saved_ms", "light_scores"):
        if getattr(data, name).shape != (rows,):
            raise InvalidColumns(f"{name} is of shape {getattr(data, name).shape}, expected ({rows},)")
    if not np.isfinite(data.matrix).all() or not np.isfinite(data.labels).all():
        raise InvalidColumns("features and labels must be finite")
    if rows and data.labels.min() < 0:
        raise InvalidColumns("a label is negative; 0 is what was shown and left")


def _described(data: TrainingData) -> dict[str, int]:
    return {
        "rows": int(data.labels.size),
        "sessions": int(np.unique(data.sessions).size),
        "positives": int(np.count_nonzero(data.labels)),
        "first_ms": int(data.times_ms.min()),
        "last_ms": int(data.times_ms.max()),
    }


def _importances(booster: lgb.Booster, kind: Literal["gain", "split"]) -> dict[str, float]:
    """What each feature was worth to the trees, or how often they asked for it; the greatest first."""
    values = booster.feature_importance(importance_type=kind)
    pairs = zip(booster.feature_name(), values.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
