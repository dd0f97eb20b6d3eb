"""Directories of small real models, and Scorpions that say what a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.cli.models.scorpions import Told
from services.scorpion.training import TrainedModel, TrainingData, TrainingOptions, train, write_model
from tests.cli.feature_logs import FEATURES, HOUR_MS, T0


def small_model(*, column: int = 0) -> TrainedModel:
    """A model that ranks by one of the two features."""
    rng = np.random.default_rng(2)
    matrix = rng.random((600, 2), dtype=np.float32)
    sessions = np.repeat(np.arange(60, dtype=np.int64), 10)
    times_ms = T0 - 100 * HOUR_MS + sessions * HOUR_MS
    data = TrainingData(
        matrix=matrix,
        labels=(matrix[:, column] > 0.7).astype(np.float32),
        sessions=sessions,
        times_ms=times_ms,
        saved_ms=times_ms,
        light_scores=np.zeros(600, np.float32),
    )
    return train(FEATURES, data, TrainingOptions(tree_count=5, leaves=8, threads=1))


TASTE, CHANCE = small_model(), small_model(column=1)


def write_version(
    directory: Path, name: str, card: Mapping[str, Any] | None = None, *, model: TrainedModel = TASTE
) -> Path:
    """A model whose card says this, too."""
    return write_model(directory, name, model.text, {**model.card, **(card or {})}, model.sample)


def refused(
    *, against: str = "light_score", parent: str = "", reason: str = "it ranks no better"
) -> dict[str, Any]:
    """What a card says of a model that the rule refused."""
    return {
        "parent": parent,
        "verdict": {"rule": "…", "refused": reason, "against": against, "forced": ""},
    }


def told(*serving: str, loaded: Sequence[str] = ()) -> list[Told]:
    """Scorpions by what they serve; `-` for one that does not answer."""
    return [
        Told(f"scorpion-{number}", answers=False)
        if name == "-"
        else Told(f"scorpion-{number}", serving=name, loaded=frozenset({*loaded, name} - {""}))
        for number, name in enumerate(serving, 1)
    ]
