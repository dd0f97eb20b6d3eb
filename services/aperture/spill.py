"""Owns the spill of a lane: its rows in memory become tails in the store, one for each user and bucket.

The common user has rows of one bucket only: that is found for all users at once, and their bytes are stored
as they are. A spill of 2 MB costs some milliseconds on the follower's thread, which is why lanes are bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.aperture.mutable import Lane
from services.aperture.rows import ROW_BYTES, TIME_S_MAX
from services.aperture.store import ApertureStore
from services.chassis.storage import Batch

_TIME_MASK = np.uint64(TIME_S_MAX)


@dataclass(frozen=True, slots=True)
class SpillLimits:
    """When lanes are spilled, and how much at once; the names are those of the config."""

    mutable_bytes: int
    lane_bytes: int
    lane_pieces: int
    pieces: int
    size_bytes: int
    excess_lanes: int = 8
    """Lanes that are chosen at once when memory is over its limit."""


def put_lane(store: ApertureStore, batch: Batch, number: int, lane: Lane) -> int:
    """Put the lane's rows into the batch as tails, and drop its redo log; returns how many tails."""
    store.spill_lane(batch, number, generation=lane.generation)
    if not lane.rows:
        return 0
    blobs = [bytes(rows) for rows in lane.rows.values()]
    packed = np.frombuffer(b"".join(blobs), dtype="<u8").reshape(-1, 2)
    buckets = (packed[:, 1] & _TIME_MASK) // np.uint64(store.bucket_s)
    starts = np.zeros(len(blobs), dtype=np.intp)
    np.cumsum([len(blob) // ROW_BYTES for blob in blobs[:-1]], out=starts[1:])
    lowest = np.minimum.reduceat(buckets, starts).tolist()
    highest = np.maximum.reduceat(buckets, starts).tolist()
    tails = 0
    for user, blob, start, low, high in zip(lane.rows, blobs, starts.tolist(), lowest, highest, strict=True):
        if low == high:
            store.put_tail(batch, user=user, bucket=low, generation=lane.generation, data=blob)
            tails += 1
            continue
        mine = slice(start, start + len(blob) // ROW_BYTES)
        for bucket in np.unique(buckets[mine]).tolist():
            data = packed[mine][buckets[mine] == bucket].tobytes()
            store.put_tail(batch, user=user, bucket=bucket, generation=lane.generation, data=data)
            tails += 1
    return tails
