"""Candidates as aligned columns, and what the stages do to them.

Owns the one value that travels through the pipeline. Every operation returns a new value and never changes
one that is there. Refuses nothing: columns come checked from `clients.py`. Next: `selection.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """Aligned columns, one row a candidate; best first only where a function says so."""

    pins: NDArray[np.uint64]
    """Pin ids, each at most once after `merged`."""
    light: NDArray[np.float32]
    """Light score, 0 where unknown."""
    saved_at: NDArray[np.uint32]
    """When saved, seconds since 1970; 0 where unknown."""
    boards: NDArray[np.uint64]
    """The board that the pin came from; 0 where unknown."""
    owners: NDArray[np.uint64]
    """Owner of that board; 0 where unknown."""
    affinities: NDArray[np.float32]
    """The user's affinity to that board; 1 where unknown."""
    via: NDArray[np.uint64]
    """The followed owner through whom the board came; 0 where the board itself is followed, or unknown."""

    def __len__(self) -> int:
        return len(self.pins)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The given rows, in the given order."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def popular(pins: NDArray[np.uint64], values: NDArray[np.float32]) -> Candidates:
    """Candidates of which only the popularity is known, which stands in for the light score."""
    count = len(pins)
    return Candidates(
        pins=pins,
        light=values,
        saved_at=np.zeros(count, np.uint32),
        boards=np.zeros(count, np.uint64),
        owners=np.zeros(count, np.uint64),
        affinities=np.ones(count, np.float32),
        via=np.zeros(count, np.uint64),
    )


def merged(parts: list[Candidates], *, limit: int) -> tuple[Candidates, int]:
    """The best `limit` of several hosts' answers by light score, and how many duplicates were dropped.

    A pin that several hosts gave (it stands on boards of different shards) stays once, where it scores best.
    Best first; ties by pin id, so the order does not depend on which host answered first.
    """
    if len(parts) == 1:
        only = parts[0]
        return (only if len(only) <= limit else only.take(np.arange(limit))), 0
    joined = Candidates(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Candidates)
        }
    )
    order = np.lexsort((joined.pins, -joined.light))
    ordered = joined.take(order)
    _, first = np.unique(ordered.pins, return_index=True)
    first.sort()
    return ordered.take(first[:limit]), len(ordered) - len(first)


def without(candidates: Candidates, removed: NDArray[np.bool_]) -> Candidates:
    """The candidates that are not marked; the order stays."""
    return candidates.take(np.flatnonzero(~removed)) if removed.any() else candidates


def blended(
    full: NDArray[np.float32], scored: NDArray[np.bool_], light: NDArray[np.float32]
) -> NDArray[np.float32]:
    """One score for all when only some candidates have a full one.

    Full and light scores have different scales, so a candidate without a full score gets the full score
    that stands at its light score's place: the best by light score of 1,000 gets the best full score that
    is there, the median one the median. Candidates of a missing host are neither lost nor favoured.

    `full`, `light`: float32 of shape (candidate,); `full` counts only where `scored`. When nothing was
    scored, the answer is `light`.
    """
    if scored.all():
        return full
    if not scored.any():
        return light
    ladder = np.sort(full[scored])[::-1]
    place = np.empty(len(light), np.int64)
    place[np.argsort(-light, kind="stable")] = np.arange(len(light))
    return np.where(scored, full, ladder[place * len(ladder) // len(light)]).astype(np.float32)
