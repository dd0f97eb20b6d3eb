"""What a model is trained on, wherever it came from: rows, and what the person should know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from services.cli.train.labels import GRADE_NAMES
from services.scorpion.features import FeatureList, Source
from services.scorpion.training import TrainingData

if TYPE_CHECKING:
    from services.cli.train.replay import Replayed

Origin = Literal["features", "log"]
"""The feature log, or the event log."""

_ENGAGED: Final = {1: "engaged"}


@dataclass(frozen=True, slots=True)
class AsServed:
    """What the feature log knows beyond features. Aligned with the rows of training.

    Neither is ever a feature. A place is the outcome of ranking, which is not there yet when a pin is ranked,
    and people look at what is on top: a model that is given it learns the habits of the last one. They are
    for judging.
    """

    scores: NDArray[np.float64]
    models: NDArray[np.object_]
    """str: who scored."""
    positions: NDArray[np.int64]
    """Place on the page, 0 first."""


@dataclass(frozen=True, slots=True)
class Material:
    """Rows to train on."""

    data: TrainingData
    origin: Origin
    shown_count: int
    """Pins shown in all sessions, taken or not."""
    session_count: int
    window_ms: int
    """How long after it was shown an action still counted for it."""
    label_names: Mapping[int, str]
    """What a label says that is not 0."""
    served: AsServed | None = None
    passed_over: int = 0
    """Rows of the feature log that have other features."""


def unknown_to_log(features: FeatureList) -> list[str]:
    """Features of columns that came with a request, such as visits of a walk: the event log has no record of
    them, so in a replay they are their default in every row. The trees pass over what never varies."""
    return [
        feature.name
        for feature in features.features
        if feature.source is Source.CANDIDATE and feature.of in features.candidate_columns
    ]


def replayed_material(replayed: Replayed, *, window_ms: int) -> Material:
    """Of the event log."""
    return Material(
        data=replayed.data,
        origin="log",
        shown_count=replayed.shown_count,
        session_count=replayed.session_count,
        window_ms=window_ms,
        label_names=_ENGAGED,
    )


def served_material(data: TrainingData, served: AsServed, *, window_ms: int, passed_over: int) -> Material:
    """Of the feature log."""
    return Material(
        data=data,
        origin="features",
        shown_count=data.labels.size,
        session_count=int(np.unique(data.sessions).size),
        window_ms=window_ms,
        label_names=GRADE_NAMES,
        served=served,
        passed_over=passed_over,
    )
