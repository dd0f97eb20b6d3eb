"""What a retrieval answers, by a full sort in plain Python: slow, and nothing to go wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SavedPin:
    """A pin of a board, with its key as float32."""

    pin: int
    key: float
    saved_at: int
    flags: int


@dataclass(frozen=True)
class Best:
    """Where a pin stands."""

    pin: int
    rank: float
    board: int
    saved_at: int


def full_sort(
    shelves: dict[int, list[SavedPin]],
    *,
    boards: list[int],
    log2_affinities: list[float],
    seen: set[int],
    limit: int,
    after: int = 0,
    before: int = (1 << 32) - 1,
    required: int = 0,
    forbidden: int = 0,
    newest_first: bool = False,
) -> list[Best]:
    """The best pins: rank descending, then pin ascending; a pin stands at its best board."""
    found: dict[int, Best] = {}
    for board, affinity in zip(boards, log2_affinities, strict=True):
        for saved in shelves.get(board, []):
            if saved.pin in seen or not after <= saved.saved_at <= before:
                continue
            if saved.flags & required != required or saved.flags & forbidden:
                continue
            rank = float(saved.saved_at) if newest_first else float(np.float64(saved.key) + affinity)
            best = found.get(saved.pin)
            if best is None or rank > best.rank:
                found[saved.pin] = Best(saved.pin, rank, board, saved.saved_at)
    return sorted(found.values(), key=lambda best: (-best.rank, best.pin))[:limit]
