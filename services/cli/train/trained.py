"""One training: rows in, a model in the directory out, and whether it may serve.

A model is promoted when its NDCG on the held-out days is above that of the light score, of newest first, and
of the model that serves now. The serving model is compared only when it was trained on none of the held-out
days: it would have seen the answers. A name is a moment (`20260301-120000`), so the newest sorts last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.chassis.errors import BadRequest
from services.cli.train.replay import Replayed
from services.scorpion import model_files
from services.scorpion.evaluation import ndcg_at
from services.scorpion.features import FeatureList
from services.scorpion.models import ModelRefused, load_model
from services.scorpion.training import (
    TrainedModel,
    TrainingData,
    TrainingOptions,
    promote,
    split_by_time,
    train,
    write_model,
)

BASELINES: Final = {"newest": "newest first", "light_score": "light score"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to."""

    name: str
    folder: Path
    card: Mapping[str, Any]
    """As written beside the model."""
    serving_name: str
    """The model that served before; empty: none."""
    serving_ndcg: float | None
    """Of the model that served before, on the same days; None when it was not compared."""
    kept_back: str
    """Why the model was not promoted; empty: it was."""

    @property
    def ndcg_name(self) -> str:
        """The metric that decides."""
        return f"ndcg_at_{self.card['options']['ndcg_k']}"


def train_model(
    features: FeatureList,
    replayed: Replayed,
    models_dir: Path,
    options: TrainingOptions,
    *,
    name: str,
    may_promote: bool,
) -> Outcome:
    """Fit, judge, write, and promote when the model is the best there is.

    Raises BadRequest when the rows cannot teach, or the name is taken.
    """
    try:
        model = train(features, replayed.data, options)
    except BadRequest as fault:
        raise BadRequest(f"{fault}; more days of impressions and actions are needed") from fault
    card = {
        **model.card,
        "shown": {"pins": replayed.shown_count, "sessions": replayed.session_count},
    }
    folder = write_model(models_dir, name, model.text, card, model.sample)
    serving_name = model_files.read_serving(models_dir)
    serving_ndcg = _serving_ndcg(features, replayed.data, options, models_dir, serving_name)
    outcome = Outcome(
        name, folder, card, serving_name, serving_ndcg, _kept_back(model, serving_ndcg, may_promote)
    )
    if not outcome.kept_back:
        promote(models_dir, name)
    return outcome


def check_name(models_dir: Path, name: str) -> None:
    """Raises BadRequest when no model can be written under this name."""
    if not model_files.NAME.fullmatch(name) or name == model_files.SERVING:
        raise BadRequest(f"{name!r} cannot be a model's name: letters, digits, _ . and -, at most 64")
    if (models_dir / name).exists():
        raise BadRequest(f"model {name} exists in {models_dir}; give the new one another --name")


def new_name(now: datetime | None = None) -> str:
    """A model name of this second."""
    return (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")


def _kept_back(model: TrainedModel, serving_ndcg: float | None, may_promote: bool) -> str:
    if not may_promote:
        return "--no-promote"
    metrics, metric = model.card["metrics"], f"ndcg_at_{model.card['options']['ndcg_k']}"
    mine = metrics["model"][metric]
    if mine is None:
        return "nothing was engaged with on the held-out days, so it could not be judged"
    for ranking, words in BASELINES.items():
        other = metrics[ranking][metric]
        if other is not None and mine <= other:
            return f"it ranks no better than {words} ({mine:.4f} to {other:.4f})"
    if serving_ndcg is not None and mine < serving_ndcg:
        return f"the model that serves ranks better ({serving_ndcg:.4f} to {mine:.4f})"
    return ""


def _serving_ndcg(
    features: FeatureList, data: TrainingData, options: TrainingOptions, models_dir: Path, name: str
) -> float | None:
    """NDCG of the serving model on the held-out days; None when there is none, or it cannot be fair."""
    if not name:
        return None
    _, held_out = split_by_time(data, holdout_days=options.holdout_days)
    holdout = data.rows(held_out)
    try:
        card = json.loads((models_dir / name / model_files.CARD).read_text(encoding="utf-8"))
        if card["training"]["last_ms"] >= int(holdout.times_ms.min()):
            return None
        model = load_model(models_dir / name, features, threads=1)
    except (OSError, ValueError, KeyError, TypeError, ModelRefused):
        return None
    scores = model.score(holdout.matrix).astype(np.float64)
    ndcg = ndcg_at(scores, holdout.labels, holdout.sessions, k=options.ndcg_k, seed=options.seed)
    return None if np.isnan(ndcg) else ndcg
