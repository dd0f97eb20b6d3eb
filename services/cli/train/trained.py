"""One training: rows in, a model in the directory out, and whether it may serve.

Fit, judge (`judging.py` says by which rule), write with the card, check it as Scorpion will, promote. A model
that is refused is written all the same, with the reason: `--force` promotes it with a reason of one's own,
which stands in the card, too. A name is a moment (`20260301-120000`), so the newest sorts last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.chassis.clock import SystemClock
from services.chassis.errors import BadRequest
from services.cli.train import judging
from services.cli.train.feature_table import feature_table
from services.cli.train.material import AsServed, Material, unknown_to_log
from services.scorpion import model_files
from services.scorpion.features import FeatureList
from services.scorpion.models import ModelRefused, load_model
from services.scorpion.training import (
    Progress,
    TrainedModel,
    TrainingOptions,
    promote,
    train,
    write_model,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to."""

    name: str
    folder: Path
    card: Mapping[str, Any]
    """As written beside the model."""
    kept_back: str
    """Why the model was not promoted; empty: it was."""

    @property
    def serving_name(self) -> str:
        """The model that served before; empty: none."""
        return str(self.card["parent"])

    @property
    def serving_ndcg(self) -> float | None:
        """Of the model that served before, on the same days; None when it was not compared."""
        compared = self.card["metrics"].get(judging.SERVING)
        return None if compared is None else compared[self.ndcg_name]

    @property
    def ndcg_name(self) -> str:
        """The metric that decides."""
        return f"ndcg_at_{self.card['options']['ndcg_k']}"


def train_model(
    features: FeatureList,
    material: Material,
    models_dir: Path,
    options: TrainingOptions,
    *,
    name: str,
    may_promote: bool,
    force: str = "",
    progress: Progress | None = None,
) -> Outcome:
    """Fit, judge, write, and promote when the rule allows it, or `force` gives a reason to do so anyway.

    Raises BadRequest when the rows cannot teach, or the name is taken.
    """
    try:
        model = train(features, material.data, options, progress)
    except BadRequest as fault:
        raise BadRequest(f"{fault}; more days of impressions and actions are needed") from fault
    parent = model_files.read_serving(models_dir)
    metrics = _judged(features, material, model, options, models_dir / parent if parent else None)
    refused, against = judging.refusal(metrics, metric=f"ndcg_at_{options.ndcg_k}", serving_name=parent)
    card = {
        **model.card,
        **_told(features, material, model),
        "parent": parent,
        "metrics": metrics,
        "verdict": {
            "rule": judging.RULE,
            "refused": refused,
            "against": against,
            "forced": force if refused else "",
        },
    }
    folder = write_model(models_dir, name, model.text, card, model.sample)
    kept_back = _kept_back(folder, features, refused, may_promote=may_promote, force=force)
    if not kept_back:
        promote(models_dir, name)
    return Outcome(name, folder, card, kept_back)


def check_name(models_dir: Path, name: str) -> None:
    """Raises BadRequest when no model can be written under this name."""
    model_files.check_name(name)
    if (models_dir / name).exists():
        raise BadRequest(f"model {name} exists in {models_dir}; give the new one another --name")


def new_name(now: datetime | None = None) -> str:
    """A model name of this second."""
    return (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")


def _judged(
    features: FeatureList,
    material: Material,
    model: TrainedModel,
    options: TrainingOptions,
    parent: Path | None,
) -> dict[str, dict[str, Any]]:
    """Metrics of all rankings of the held-out rows."""
    holdout, served = material.data.rows(model.held_out), material.served
    if served is not None:
        rows = model.held_out
        served = AsServed(served.scores[rows], served.models[rows], served.positions[rows])
    rankings = judging.rankings_of(holdout, model.held_out_raw, served)
    if parent is not None:
        serving = judging.serving_ranking(holdout, served, parent, features)
        if serving is not None:
            rankings[judging.SERVING] = serving
    return judging.judge(holdout, rankings, ndcg_k=options.ndcg_k, seed=options.seed)


def _told(features: FeatureList, material: Material, model: TrainedModel) -> dict[str, Any]:
    """What the card says of the data."""
    data = material.data
    replayed = material.origin == "log"
    held = np.zeros(data.labels.size, np.bool_)
    held[model.held_out] = True
    told: dict[str, Any] = {
        "trained_at_ms": SystemClock().now_ms(),
        "origin": material.origin,
        "window_hours": material.window_ms / 3_600_000,
        "rows_passed_over": material.passed_over,
        "unknown_features": unknown_to_log(features) if replayed else [],
        "knowing_features": _knowing(features, model.card["holdout"]["first_ms"]) if replayed else [],
        "shown": {"pins": material.shown_count, "sessions": material.session_count},
        "labels": {
            side: _label_shares(data.labels[rows], material.label_names)
            for side, rows in (("training", ~held), ("holdout", held))
        },
        "by_feature": feature_table(
            features, data.matrix[~held], gain=model.card["gain"], splits=model.card["splits"]
        ),
    }
    if material.served is not None:
        told["engaged_by_position"] = judging.engaged_by_position(data.labels, material.served.positions)
    return told


def _knowing(features: FeatureList, judged_from_ms: int) -> list[str]:
    """Features of item factors that may have been learned from the very saves which they are judged by."""
    return [name for name, until_ms in features.knows_until_ms().items() if until_ms > judged_from_ms]


def _label_shares(labels: NDArray[np.float32], names: Mapping[int, str]) -> dict[str, float]:
    """Share of rows with each label that is not 0."""
    return {name: round(float(np.mean(labels == label)), 6) for label, name in names.items()}


def _kept_back(folder: Path, features: FeatureList, refused: str, *, may_promote: bool, force: str) -> str:
    if not may_promote:
        return "--no-promote"
    if refused and not force:
        return refused
    try:
        load_model(folder, features)
    except ModelRefused as fault:
        return f"Scorpion would refuse it: {fault.message}"
    return ""
