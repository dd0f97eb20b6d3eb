"""The entities with the greatest counts, and the short memory of them.

A scan of every row is too dear for each request, so an answer is kept for a moment; requests for the same
counter that come meanwhile wait for the one scan (one flight) and share it.
Ties are broken by entity, smallest first, so replicas with the same counts answer the same. Entities with
a count of 0 are nobody's top and are left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Top:
    """Aligned columns, greatest first."""

    entities: NDArray[np.uint64]
    values: NDArray[np.float32]

    def first(self, count: int) -> Top:
        """The greatest `count` of these."""
        return Top(self.entities[:count], self.values[:count])


def greatest(entities: NDArray[np.uint64], values: NDArray[np.float32], *, count: int) -> Top:
    """The `count` greatest positive values, ties by entity; fewer when there are fewer."""
    positive = np.flatnonzero(values > 0)
    count = min(count, len(positive))
    if count == 0:
        return Top(np.empty(0, np.uint64), np.empty(0, np.float32))
    values, entities = values[positive], entities[positive]
    least = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > least)
    tied = np.flatnonzero(values == least)
    # Of those that tie for the last places, the smallest entities: a partition alone would take any.
    tied = tied[np.argpartition(entities[tied], count - len(above) - 1)[: count - len(above)]]
    chosen = np.concatenate([above, tied])
    chosen = chosen[np.lexsort((entities[chosen], -values[chosen].astype(np.float64)))]
    return Top(entities[chosen], values[chosen])


class TopCache:
    """Tops by counter and time asked for, kept `keep_ms`; at most `entries_max` of them."""

    def __init__(self, *, keep_ms: int, entries_max: int) -> None:
        self._keep_ms = keep_ms
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._tops: dict[tuple[str, int], tuple[float, Top]] = {}

    def get(self, key: tuple[str, int], make: Callable[[], Top], *, monotonic_s: float) -> tuple[Top, bool]:
        """The kept top of `key`, or a new one; and whether it was kept. Blocks while another thread scans."""
        with self._lock:
            kept = self._tops.get(key)
            if kept is not None and monotonic_s < kept[0]:
                return kept[1], True
            top = make()
            self._tops.pop(key, None)
            self._tops[key] = (monotonic_s + self._keep_ms / 1000, top)
            if len(self._tops) > self._entries_max:
                # Insertion order: the oldest made goes, expired ones first.
                del self._tops[next(iter(self._tops))]
            return top, False
