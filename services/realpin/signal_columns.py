"""Owns the reading of a slot at one moment: from dicts to aligned, ordered, bounded columns.

The order of each kind is part of the contract (realpin.proto); ties are broken by id, so that two replicas
answer alike. Refuses nothing: an empty slot gives empty columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.realpin.declaration import SignalConfig
from services.realpin.slots import TYPE_BITS, TYPE_MASK, DecayedSlot, LastSlot, Slot, WindowedSlot

# A weight below this is noise of long ago: it is not answered.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class SignalColumns:
    """One signal at one moment; aligned columns in the order that its kind says.

    `last`: newest first; `decayed`: largest magnitude first; `windowed`: by action number. Ties by id.
    """

    name: str
    kind: str
    ids: NDArray[np.uint64]
    values: NDArray[np.float32]
    times: NDArray[np.uint32]
    """When the id was last touched, seconds since 1970."""


def columns_of(
    config: SignalConfig, slot: Slot, now_ms: int, slice_ms: int, half_life_ms: float
) -> SignalColumns:
    """Return the slot's columns at `now_ms`, at most `config.limit` rows."""
    if isinstance(slot, LastSlot):
        ids, values, times = _last(slot, config.limit)
    elif isinstance(slot, DecayedSlot):
        ids, values, times = _decayed(slot, config.limit, now_ms, half_life_ms)
    else:
        assert isinstance(slot, WindowedSlot), "there are three kinds"
        ids, values, times = _windowed(slot, config.buckets, now_ms, slice_ms)
    return SignalColumns(
        config.name,
        config.kind,
        np.array(ids, dtype=np.uint64),
        np.array(values, dtype=np.float32),
        np.array(times, dtype=np.uint32),
    )


_Columns = tuple[Any, Any, Any]


def _last(slot: LastSlot, limit: int) -> _Columns:
    rows = sorted((-time_ms, id, weight) for id, (time_ms, weight) in slot.marks.items())[:limit]
    return [row[1] for row in rows], [row[2] for row in rows], [(-row[0]) // 1000 for row in rows]


def _decayed(slot: DecayedSlot, limit: int, now_ms: int, half_life_ms: float) -> _Columns:
    marks = slot.marks
    if not marks:
        return (), (), ()
    ids = np.fromiter(marks, dtype=np.uint64, count=len(marks))
    sums = np.array([mark[0] for mark in marks.values()])
    times = np.array([mark[1] for mark in marks.values()], dtype=np.int64)
    # An id is never read before its own last event: its weight would grow past what was ever added.
    ages = np.maximum(now_ms, times * 1000) / half_life_ms - slot.landmark
    values = sums * np.exp2(-ages)
    order = np.lexsort((ids, -np.abs(values)))[:limit]
    order = order[np.abs(values[order]) >= NEGLIGIBLE]
    return ids[order], values[order], times[order]


def _windowed(slot: WindowedSlot, buckets: int, now_ms: int, slice_ms: int) -> _Columns:
    end = ((now_ms // slice_ms) + 1) << TYPE_BITS
    start = end - (buckets << TYPE_BITS)
    sums: dict[int, int] = {}
    for key, count in slot.counts.items():
        if start <= key < end:
            action = key & TYPE_MASK
            sums[action] = sums.get(action, 0) + count
    actions = sorted(sums)
    return actions, [sums[action] for action in actions], [slot.touched[action] for action in actions]
