"""Candidates as aligned columns, and what the stages do to them.

Owns the one value that travels through the pipeline. Every operation returns a new value and never changes
one that is there. Refuses nothing: columns come checked from `clients.py`. Next: `selection.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """Aligned columns, one row a candidate; best first only where a function says so."""

    pins: NDArray[np.uint64]
    """Pin ids, each at most once after `merged` and `joined`."""
    light: NDArray[np.float32]
    """Light score, 0 where unknown."""
    saved_at: NDArray[np.uint32]
    """When saved, seconds since 1970; 0 where unknown."""
    boards: NDArray[np.uint64]
    """The board that the pin came from; 0 where unknown."""
    owners: NDArray[np.uint64]
    """Owner of that board; 0 where unknown."""
    affinities: NDArray[np.float32]
    """The user's affinity to that board or interest; 1 where unknown."""
    via: NDArray[np.uint64]
    """The followed owner through whom the board came; 0 where the board itself is followed, or unknown."""
    interests: NDArray[np.uint64]
    """The followed interest that the pin came from; 0 where none."""
    sources: NDArray[np.uint8]
    """Place in the recipe of the source that the pin came from."""
    board_visits: NDArray[np.float32]
    """Visits of the board by the walk that found it; NaN where none walked."""
    pin_visits: NDArray[np.float32]
    """Visits of the pin by that walk; NaN where none walked."""

    def __len__(self) -> int:
        return len(self.pins)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The given rows, in the given order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})


_COLUMNS: Final = tuple(field.name for field in fields(Candidates))


def candidates_of(
    pins: NDArray[np.uint64],
    light: NDArray[np.float32],
    *,
    saved_at: NDArray[np.uint32] | None = None,
    boards: NDArray[np.uint64] | None = None,
    owners: NDArray[np.uint64] | None = None,
    affinities: NDArray[np.float32] | None = None,
    via: NDArray[np.uint64] | None = None,
    interests: NDArray[np.uint64] | None = None,
) -> Candidates:
    """Candidates of which the columns that are not given are unknown."""
    count = len(pins)
    no_ids, nan = np.zeros(count, np.uint64), np.full(count, np.nan, np.float32)
    return Candidates(
        pins=pins,
        light=light,
        saved_at=np.zeros(count, np.uint32) if saved_at is None else saved_at,
        boards=no_ids if boards is None else boards,
        owners=no_ids if owners is None else owners,
        affinities=np.ones(count, np.float32) if affinities is None else affinities,
        via=no_ids if via is None else via,
        interests=no_ids if interests is None else interests,
        sources=np.zeros(count, np.uint8),
        board_visits=nan,
        pin_visits=nan,
    )


def popular(pins: NDArray[np.uint64], values: NDArray[np.float32]) -> Candidates:
    """Candidates of which only the popularity is known, which stands in for the light score."""
    return candidates_of(pins, values)


def none_at_all() -> Candidates:
    """No candidates."""
    return candidates_of(np.empty(0, np.uint64), np.empty(0, np.float32))


def merged(parts: list[Candidates], *, limit: int) -> tuple[Candidates, int]:
    """The best `limit` of several hosts' answers by light score, and how many duplicates were dropped.

    A pin that several hosts gave (it stands on boards of different shards) stays once, where it scores best.
    Best first; ties by pin id, so the order does not depend on which host answered first.
    """
    if len(parts) == 1:
        only = parts[0]
        return (only if len(only) <= limit else only.take(np.arange(limit))), 0
    together = concatenated(parts)
    order = np.lexsort((together.pins, -together.light))
    ordered = together.take(order)
    _, first = np.unique(ordered.pins, return_index=True)
    first.sort()
    return ordered.take(first[:limit]), len(ordered) - len(first)


def concatenated(parts: Sequence[Candidates]) -> Candidates:
    """One part behind the other."""
    return Candidates(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS})


def joined(parts: Sequence[Candidates]) -> tuple[Candidates, int]:
    """The candidates of a recipe's sources, and how many duplicates were dropped.

    A pin that several sources have belongs to the first of them. Part after part, each in its order.
    """
    if len(parts) == 1:
        return parts[0], 0
    together = concatenated(parts)
    _, first = np.unique(together.pins, return_index=True)
    if len(first) == len(together):
        return together, 0
    first.sort()
    return together.take(first), len(together) - len(first)


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
