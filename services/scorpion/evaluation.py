"""How well scores order what users did: NDCG@k by session, and AUC. Pure numpy.

Ties are broken by a seeded draw, never by the order of the rows: rows often come with the engaged ones
first, and a constant score would then look perfect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ndcg_at(
    scores: NDArray[np.float64],
    labels: NDArray[np.float32],
    sessions: NDArray[np.int64],
    *,
    k: int,
    seed: int,
) -> float:
    """Mean NDCG@k over the sessions that have a positive label; NaN when none has.

    Labels are gains (0 or more), discounted by log2(rank + 1). All arrays are aligned by row, in any order.
    """
    if scores.size == 0:
        return float("nan")
    draw = np.random.default_rng(seed).random(scores.size)
    _, session = np.unique(sessions, return_inverse=True)
    got = _dcg(np.lexsort((draw, -scores, session)), labels, session, k=k)
    best = _dcg(np.lexsort((-labels, session)), labels, session, k=k)
    counted = best > 0
    return float((got[counted] / best[counted]).mean()) if counted.any() else float("nan")


def auc(scores: NDArray[np.float64], labels: NDArray[np.float32]) -> float:
    """Chance that a positive row (label > 0) outscores another one, a tie being a half.

    NaN when there are no positives, or nothing else.
    """
    positive = labels > 0
    positives = int(np.count_nonzero(positive))
    negatives = labels.size - positives
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # The mean rank of each distinct score: Mann and Whitney's U with ties.
    ranks = np.cumsum(counts) - (counts - 1) / 2
    total = float(ranks[place][positive].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


def _dcg(
    order: NDArray[np.intp], labels: NDArray[np.float32], session: NDArray[np.intp], *, k: int
) -> NDArray[np.float64]:
    """DCG of each session, its rows in the given order (grouped by session)."""
    ordered = session[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, ordered.size])
    rank = np.arange(ordered.size) - np.repeat(starts, lengths)
    gains = np.where(rank < k, labels[order] / np.log2(rank + 2), 0.0)
    return np.bincount(ordered, weights=gains).astype(np.float64, copy=False)
