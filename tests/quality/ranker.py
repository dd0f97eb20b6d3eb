"""A ranker for a measurement: factors, a feature list, a LightGBM model, all by the product's own code.

Rows are computed by Scorpion's own functions (`FeatureList.compute`), which serving calls too; the model is
trained and written by Scorpion's training; `scoring.py` gets what a Scorpion process answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lightgbm
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from services.cli.mesh.layout import Layout
from services.scorpion.features import FeatureList
from services.scorpion.model_files import promote, write_model
from services.scorpion.training import TrainedModel, TrainingData, TrainingOptions, train
from tests.quality.progress import bar
from tests.quality.walks import feedmesh

MODEL: Final = "quality"
SIGNAL: Final = "recent_pins"
VERSION: Final = "v1"
"""Of the factors that train and of those that serve: the feature is the same, of fewer pairs or of all."""
_DAY_MS: Final = 86_400_000
_DAYS: Final = 20


@dataclass(frozen=True, slots=True)
class FactorsOf:
    """How factors are learned: `feedmesh factors build`."""

    name: str
    dim: int
    alpha: float
    regularisation: float


def features_text(sources: Sequence[tuple[str, str]], factors: Sequence[FactorsOf]) -> str:
    """A feature list: names with their sources, then factors."""
    plain = [f'[[feature]]\nname = "{name}"\nsource = "{source}"\n' for name, source in sources]
    folded = [
        f'[[feature]]\nname = "{of.name}"\nsource = "factors.{of.name}"\nversion = "{VERSION}"\n'
        f'signal = "{SIGNAL}"\n'
        for of in factors
    ]
    return "\n".join(plain + folded)


def build_factors(edges: Path, factors_dir: Path, factors: Sequence[FactorsOf], console: Console) -> None:
    """Factors of the edges, a version of each."""
    with bar(console) as progress:
        for of in progress.track(factors, description="factors"):
            feedmesh(
                *("factors", "build", edges, "--out", factors_dir, "--name", of.name, "--version", VERSION),
                *("--dim", str(of.dim), "--alpha", str(of.alpha), "--iterations", "12", "--threads", "2"),
                *("--regularisation", str(of.regularisation)),
            )


def trained(
    features: FeatureList,
    matrix: NDArray[np.float32],
    labels: NDArray[np.bool_],
    sessions: NDArray[np.int64],
    options: TrainingOptions,
) -> TrainedModel:
    """A model of the rows. One session in twenty is not trained on: the card is judged by these.

    `options.holdout_days` must be less than 1. The same rows and options give the same model. Blocks for
    seconds to minutes.
    """
    # Times have no other meaning here than to say which sessions those are.
    days = np.random.default_rng(11).integers(1, _DAYS + 1, int(sessions.max()) + 1)
    data = TrainingData(
        matrix=matrix,
        labels=labels.astype(np.float32),
        sessions=sessions,
        times_ms=days[sessions] * _DAY_MS,
        saved_ms=np.zeros(sessions.size, np.int64),
        light_scores=np.zeros(sessions.size, np.float32),
    )
    return train(features, data, options)


def raw_scores(model: TrainedModel, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """LightGBM's own scores of rows, in this process."""
    booster = lightgbm.Booster(model_str=model.text)
    return np.asarray(booster.predict(matrix, raw_score=True, num_threads=2), np.float64)


def let_serve(layout: Layout, model: TrainedModel) -> None:
    """Write the model, and promote it."""
    write_model(layout.models_dir, MODEL, model.text, model.card, model.sample)
    promote(layout.models_dir, MODEL)
