"""Owns RealPin's keys and bytes.

    family    key                     value
    signals   shard u16 | user u64    a state of `state_codec`, whole
    system    (the follower's)        offsets, recent ids

Keys are big-endian, so a shard is one key range. The value is replaced whole, never changed in place: a
reader sees the state before a batch or after it, never one between.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Batch, Family, Store, object_family, small_family

SIGNALS: Final = "signals"
_KEY = struct.Struct(">HQ")


def families() -> Mapping[str, Family]:
    """The families of RealPin's store. No blob files: values are overwritten all the time."""
    return {SIGNALS: replace(object_family(), blob_bytes_min=0), "system": small_family()}


class SignalStore:
    """States as bytes. Any thread may read; only the follower writes."""

    def __init__(self, store: Store, owned: OwnedShards) -> None:
        self._store = store
        self._owned = owned

    def get(self, user: int) -> bytes | None:
        """The user's state as last written; None for a user without any."""
        return self._store.get(SIGNALS, self._key(user))

    def get_many(self, users: Sequence[int]) -> list[bytes | None]:
        """The states in the order of `users`."""
        return self._store.multi_get(SIGNALS, [self._key(user) for user in users])

    def put(self, batch: Batch, user: int, blob: bytes) -> None:
        """Replace the user's state."""
        batch.put(SIGNALS, self._key(user), blob)

    def delete(self, batch: Batch, user: int) -> None:
        """Forget the user."""
        batch.delete(SIGNALS, self._key(user))

    def _key(self, user: int) -> bytes:
        return _KEY.pack(self._owned.shard_of(user), user)
