"""Why candidates have their scores: what the model was given, from where and how old, and what each adds.

The contributions are exact (`forest/contributions.py`): with the expected score they add up to the score.
Next: `scorer.py`, which computes the features as for any score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.chassis.clock import Clock
from services.scorpion.features import Feature, FeatureList, RowKind, Source
from services.scorpion.models import Model
from services.scorpion.scorer import Query, Scorer

REQUEST = "request"
"""The source of what came with the request itself."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Aligned with the candidates; features are the model's, in its order."""

    model: str
    scores: NDArray[np.float32]
    features: tuple[Feature, ...]
    values: NDArray[np.float32]
    """(candidate, feature)."""
    missing: NDArray[np.uint8]
    """(candidate, feature): 1 where the default was taken."""
    contributions: NDArray[np.float64]
    """(candidate, feature + 1): last what the model expects when it knows nothing."""
    sources: tuple[str, ...]
    """Where features come from; `source_of` (intp, by feature) says which."""
    source_of: NDArray[np.intp]
    ages_ms: NDArray[np.int64]
    """(candidate, source): since it was read from its owner; 0 for the request, −1 where nothing is known."""


def explain(
    query: Query, model: Model, scorer: Scorer, features: FeatureList, clock: Clock, *, left_s: float | None
) -> Explained:
    """Score again, and say why. Raises NoCounts for a model without the counts that it takes."""
    scored = scorer.score(query, model, left_s=left_s, want_features=True)
    assert scored.features is not None
    chosen = tuple(features.features[column] for column in model.columns.tolist())
    values = np.ascontiguousarray(scored.features.values[:, model.columns])
    names = [_source(feature) for feature in chosen]
    sources = tuple(dict.fromkeys([REQUEST, *names]))
    return Explained(
        model=model.name,
        scores=scored.scores,
        features=chosen,
        values=values,
        missing=np.ascontiguousarray(scored.features.missing[:, model.columns]),
        contributions=np.ascontiguousarray(model.contributions.of(values)[:, 0, :]),
        sources=sources,
        source_of=np.array([sources.index(name) for name in names], np.intp),
        ages_ms=_ages_ms(sources, scored.features.fetched_s, len(values), now_s=clock.monotonic()),
    )


def _source(feature: Feature) -> str:
    """The owner that the feature's value was read from, in one word."""
    if feature.source in (Source.COUNT, Source.RATIO):
        return str(Source.COUNT)
    kind = feature.source.row_kind
    return REQUEST if kind is None else str(kind)


def _ages_ms(
    sources: tuple[str, ...],
    fetched_s: Mapping[RowKind, NDArray[np.float64]],
    count: int,
    *,
    now_s: float,
) -> NDArray[np.int64]:
    ages = np.zeros((count, len(sources)), np.int64)
    for place, source in enumerate(sources):
        if source != REQUEST:
            # A pin's counts are read with its row.
            kind = RowKind.PIN if source == str(Source.COUNT) else RowKind(source)
            age = (now_s - fetched_s[kind]) * 1000
            ages[:, place] = np.where(np.isnan(age), -1, age).astype(np.int64)
    return ages
