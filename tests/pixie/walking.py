"""Walks as the tests ask for them: queries with defaults, visits as dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.pixie.graph import Graph
from services.pixie.ranking import SideVisits
from services.pixie.settings import WalkSettings
from services.pixie.walk import WalkCounts, WalkQuery
from services.pixie.walkers import Walkers


def plain(**settings: Any) -> WalkSettings:
    """Drawn round trips without anything else, but for what is named."""
    return WalkSettings(**{"exact": False, "degree_penalty": 0.0, "step_count": 10_000, **settings})


def query(
    rows: Sequence[int],
    settings: WalkSettings | None = None,
    *,
    weights: Sequence[float] | None = None,
    seed: int = 1,
    preferred: int = 0,
) -> WalkQuery:
    """A query that counts boards, too."""
    return WalkQuery(
        np.array(rows, np.int64),
        np.ones(len(rows)) if weights is None else np.array(weights, float),
        settings or plain(),
        seed,
        preferred,
        want_boards=True,
    )


@dataclass(frozen=True)
class Walked:
    """Scores by row, all of them."""

    pins: Mapping[int, float]
    boards: Mapping[int, float]
    counts: WalkCounts


def walkers(*, threads: int = 1, parallel_steps_min: int = 1, visit_slots: int = 1 << 16) -> Walkers:
    """Small ones."""
    return Walkers(visit_slots=visit_slots, threads=threads, parallel_steps_min=parallel_steps_min)


def walk(graph: Graph, asked: WalkQuery, using: Walkers | None = None) -> Walked:
    """Scores of everything that was visited, the query pins too."""
    with (using or walkers()).walk(graph, asked) as visits:
        return Walked(
            _scores(visits.pins, asked.settings), _scores(visits.boards, asked.settings), visits.counts
        )


def _scores(side: SideVisits, settings: WalkSettings) -> Mapping[int, float]:
    ranked = side.best(settings, limit=1 << 20, excluded=np.zeros(0, np.int64))
    return dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
