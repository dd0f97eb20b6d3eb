"""Synthetic sessions, and what a model trained on them brings along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.scorpion.features import FeatureList
from services.scorpion.training import TrainedModel, TrainingData, TrainingOptions

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Trained:
    """The features, the data, and the model trained on them."""

    features: FeatureList
    data: TrainingData
    options: TrainingOptions
    model: TrainedModel


def synthetic(features: FeatureList, *, sessions: int = 80, rows: int = 18, seed: int = 3) -> TrainingData:
    """Sessions of three days in which a pin is engaged with for its quality, not for its age."""
    draw = np.random.default_rng(seed)
    count = sessions * rows
    matrix = draw.random((count, len(features.names)), dtype=np.float32)
    quality = matrix[:, features.names.index("quality")]
    session = np.repeat(np.arange(sessions, dtype=np.int64), rows)
    times_ms = 1_700_000_000_000 + session * (72 * HOUR_MS // sessions)
    return TrainingData(
        matrix=matrix,
        labels=(quality + 0.2 * draw.standard_normal(count) > 0.75).astype(np.float32),
        sessions=session,
        times_ms=times_ms,
        saved_ms=times_ms - draw.integers(0, 100 * HOUR_MS, count),
        light_scores=draw.random(count, dtype=np.float32),
    )
