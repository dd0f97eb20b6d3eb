"""Rank agreement of two scores, request by request, in one pass over all rows.

Kendall's tau-b and the overlap of the best k: both are per request, of some 20 rows each, where numpy's
overhead for a request would be most of the time. A request of n rows costs n² / 2 comparisons, some 0.2 µs
for 20 rows and 40 µs for 300.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def kendall_tau_b(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    starts: NDArray[np.int64],
    out: NDArray[np.float64],
    reversed_pairs: NDArray[np.int64],
) -> None:
    """Tau-b of each request's rows, `starts[i]` to `starts[i + 1]`; -1 to 1, ties as Kendall (1945) counts
    them. NaN where either score says the same of all rows, or there are fewer than two. And the pairs of rows
    that the two put in opposite orders. `out` and `reversed_pairs`: (request,).
    """
    for request in range(out.size):
        begin, end = starts[request], starts[request + 1]
        agree = np.int64(0)
        opposed = np.int64(0)
        a_differs = np.int64(0)
        b_differs = np.int64(0)
        for i in range(begin, end):
            for j in range(i + 1, end):
                of_a = np.int64(a[i] > a[j]) - np.int64(a[i] < a[j])
                of_b = np.int64(b[i] > b[j]) - np.int64(b[i] < b[j])
                agree += of_a * of_b
                opposed += np.int64(of_a * of_b < 0)
                a_differs += of_a * of_a
                b_differs += of_b * of_b
        reversed_pairs[request] = opposed
        if a_differs == 0 or b_differs == 0:
            out[request] = np.nan
        else:
            out[request] = agree / np.sqrt(np.float64(a_differs) * np.float64(b_differs))


@njit(cache=True, nogil=True)
def top_overlaps(
    a_ranks: NDArray[np.int64],
    b_ranks: NDArray[np.int64],
    starts: NDArray[np.int64],
    k: int,
    out: NDArray[np.float64],
) -> None:
    """Share of each request's best k rows (of all, when they are fewer) that both have; ranks from 0 within
    the request, without ties. NaN of no rows."""
    for request in range(out.size):
        begin, end = starts[request], starts[request + 1]
        top = min(k, end - begin)
        both = 0
        for i in range(begin, end):
            if a_ranks[i] < top and b_ranks[i] < top:
                both += 1
        out[request] = both / top if top > 0 else np.nan
