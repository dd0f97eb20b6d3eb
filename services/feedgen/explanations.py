"""Why items have their scores: what Scorpion says in columns, as messages of the page's items.

Owns the order of the shares: the greatest contribution first, whatever its sign. Refuses nothing: columns
come checked from `messages/score.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedmesh.feedgen.v1 import feedgen_pb2
from services.feedgen.answers import Explained, ExplainedRows


def explain_items(items: Sequence[feedgen_pb2.Item], explained: Explained) -> None:
    """Fill `score_explained` of the items that Scorpion explained; rows are places on the page."""
    for part in explained.parts:
        for row, place in enumerate(part.rows.tolist()):
            items[place].score_explained.CopyFrom(_score_explained(part, row))


def _score_explained(part: ExplainedRows, row: int) -> feedgen_pb2.ScoreExplained:
    contributions = part.contributions[row]
    order = np.argsort(-np.abs(contributions[:-1]), kind="stable")
    columns = zip(
        order.tolist(),
        part.values[row][order].tolist(),
        contributions[order].tolist(),
        part.defaulted[row][order].tolist(),
        part.ages_ms[row][order].tolist(),
        strict=True,
    )
    return feedgen_pb2.ScoreExplained(
        model=part.model,
        score=float(part.scores[row]),
        expected=float(contributions[-1]),
        features=[
            feedgen_pb2.FeatureShare(
                name=part.names[feature],
                value=value,
                contribution=contribution,
                origin=part.origins[feature],
                defaulted=defaulted,
                age_ms=age_ms,
            )
            for feature, value, contribution, defaulted, age_ms in columns
        ],
    )
