"""How well scores order what users did: NDCG@k by session, AUC, and how sure a mean is. Pure numpy.

Ties are broken by a seeded draw, never by the order of the rows: rows often come with the engaged ones
first, and a constant score would then look perfect.
Sessions are what the bootstrap draws, as rows of one session are not independent. Those of one person are
not either: an interval is somewhat too narrow when few people make many sessions.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS: Final = 1_000
"""The ends of a 95% interval then move by a few percent of its width from seed to seed."""
INTERVAL_LEVEL: Final = 0.95
_DRAWN_AT_ONCE: Final = 1_000_000
"""Values gathered at once, 8 MB."""

Interval: TypeAlias = tuple[float, float]


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
    by_session = ndcg_by_session(scores, labels, sessions, k=k, seed=seed)
    counted = by_session[~np.isnan(by_session)]
    return float(counted.mean()) if counted.size else float("nan")


def ndcg_by_session(
    scores: NDArray[np.float64],
    labels: NDArray[np.float32],
    sessions: NDArray[np.int64],
    *,
    k: int,
    seed: int,
) -> NDArray[np.float64]:
    """NDCG@k of each session in ascending order of its number; NaN where no label is positive.

    Two rankings of the same rows give aligned values, whose difference is a paired one.
    """
    if scores.size == 0:
        return np.empty(0, np.float64)
    draw = np.random.default_rng(seed).random(scores.size)
    _, session = np.unique(sessions, return_inverse=True)
    got = _dcg(np.lexsort((draw, -scores, session)), labels, session, k=k)
    best = _dcg(np.lexsort((-labels, session)), labels, session, k=k)
    return np.asarray(np.divide(got, best, out=np.full(got.size, np.nan), where=best > 0))


def bootstrap_interval(
    values: NDArray[np.float64],
    *,
    seed: int,
    draws: int = BOOTSTRAP_DRAWS,
    level: float = INTERVAL_LEVEL,
) -> Interval:
    """The percentile bootstrap interval of the mean of independent values; NaNs when there are none.

    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3. About 5 ns a value and
    draw. Of fewer than some 30 values it is too narrow: the caller should not lean on it.
    """
    if values.size == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.empty(draws, np.float64)
    step = max(1, _DRAWN_AT_ONCE // values.size)
    for begin in range(0, draws, step):
        count = min(step, draws - begin)
        means[begin : begin + count] = values[rng.integers(values.size, size=(count, values.size))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
