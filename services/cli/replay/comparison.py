"""How two scores of the same requests differ, in order and in size. Columns in, columns out.

The order of a request is by score, the greatest first; ties stay in the order of the page, as selection takes
them. Both scores are of the pins that were served, not of all that were candidates: what one model would have
served instead of them nobody logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.cli.replay import comparison_kernels as kernels

TOP: Final = 10
"""Rows whose overlap is told."""


@dataclass(frozen=True, slots=True)
class Compared:
    """By request, aligned; those of one row have no order, and count as unchanged."""

    unchanged: NDArray[np.bool_]
    """Whether the order is the same."""
    kendall: NDArray[np.float64]
    """Tau-b, -1 to 1; NaN where either score says the same of all rows."""
    spearman: NDArray[np.float64]
    """Of the ranks, ties sharing their mean; NaN as of `kendall`."""
    reversed_pairs: NDArray[np.int64]
    """Pairs of pins that the two put in opposite orders."""
    overlap: NDArray[np.float64]
    """Share of the best `TOP` (of all, when they are fewer) that both have."""
    difference: NDArray[np.float64]
    """Mean of first score minus second."""
    distance: NDArray[np.float64]
    """Mean of the absolute difference."""

    def means(self) -> dict[str, float | None]:
        """Over all requests that have a value; None where none has."""
        return {
            "unchanged_order": _mean(self.unchanged.astype(np.float64)),
            "kendall_tau_b": _mean(self.kendall),
            "spearman": _mean(self.spearman),
            f"top_{TOP}_overlap": _mean(self.overlap),
            "score_difference": _mean(self.difference),
            "score_distance": _mean(self.distance),
        }

    def most_changed(self, count: int) -> list[int]:
        """The requests with most reversed pairs, the worst first, then by place: a correlation would name
        pages of two pins. None without any."""
        order = np.lexsort((np.arange(self.overlap.size), -self.reversed_pairs))
        return [int(request) for request in order[:count] if self.reversed_pairs[request]]


def compared(first: NDArray[np.float64], second: NDArray[np.float64], starts: NDArray[np.int64]) -> Compared:
    """Compare finite scores, aligned; request i has the rows `starts[i]` to `starts[i + 1]`, at least one, in
    the order of the page."""
    requests = starts.size - 1
    sizes = np.diff(starts)
    request = np.repeat(np.arange(requests), sizes)
    ranks, others = _ranks(first, request, starts), _ranks(second, request, starts)
    kendall, overlap = np.empty(requests), np.empty(requests)
    reversed_pairs = np.empty(requests, np.int64)
    kernels.kendall_tau_b(first, second, starts, kendall, reversed_pairs)
    kernels.top_overlaps(ranks, others, starts, TOP, overlap)
    moved = np.bincount(request, weights=(ranks != others), minlength=requests)
    return Compared(
        unchanged=moved == 0,
        kendall=kendall,
        reversed_pairs=reversed_pairs,
        spearman=_spearman(_shared(first, ranks, request), _shared(second, others, request), request, sizes),
        overlap=overlap,
        difference=np.bincount(request, weights=first - second, minlength=requests) / sizes,
        distance=np.bincount(request, weights=np.abs(first - second), minlength=requests) / sizes,
    )


def _ranks(
    scores: NDArray[np.float64], request: NDArray[np.intp], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Place of each row in its request, 0 the best; ties by row."""
    order = np.lexsort((np.arange(scores.size), -scores, request))
    ranks = np.empty(scores.size, np.int64)
    ranks[order] = np.arange(scores.size) - starts[request]
    return ranks


def _shared(
    scores: NDArray[np.float64], ranks: NDArray[np.int64], request: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Ranks in which rows of one score share the mean of theirs."""
    order = np.lexsort((scores, request))
    before, after = order[:-1], order[1:]
    new = np.r_[True, (scores[after] != scores[before]) | (request[after] != request[before])]
    group = np.empty(order.size, np.int64)
    group[order] = np.cumsum(new) - 1
    means: NDArray[np.float64] = np.bincount(group, weights=ranks) / np.bincount(group)
    return means[group]


def _spearman(
    a: NDArray[np.float64], b: NDArray[np.float64], request: NDArray[np.intp], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Pearson's correlation of the ranks by request."""

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(request, weights=values, minlength=sizes.size).astype(np.float64, copy=False)

    a = a - (summed(a) / sizes)[request]
    b = b - (summed(b) / sizes)[request]
    scale = np.sqrt(summed(a * a) * summed(b * b))
    rho: NDArray[np.float64] = np.divide(
        summed(a * b), scale, out=np.full(sizes.size, np.nan), where=scale > 0
    )
    return rho


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
