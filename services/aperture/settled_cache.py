"""Owns the cache of users' settled rows, bounded by bytes, least recently used first out.

An entry is of one generation of its user's lane: a spill makes it worthless, a freeze does not, because that
only moves rows within the store. Entries are immutable and shared by the threads that read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from services.aperture.history import Settled


class SettledCache:
    """Thread-safe; the lock is held for a dict operation only."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: OrderedDict[int, tuple[int, Settled]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def get(self, user: int, *, generation: int, from_bucket: int) -> Settled | None:
        """The user's rows, when they are of this generation and reach back to `from_bucket`."""
        with self._lock:
            entry = self._entries.get(user)
            if entry is None or entry[0] != generation or entry[1].start_bucket > from_bucket:
                return None
            self._entries.move_to_end(user)
            return entry[1]

    def put(self, user: int, settled: Settled, *, generation: int) -> None:
        """Keep the rows; what is larger than the whole cache is not kept."""
        with self._lock:
            known = self._entries.pop(user, None)
            if known is not None:
                self.size_bytes -= known[1].size_bytes
            if settled.size_bytes > self._bytes_max:
                return
            self._entries[user] = (generation, settled)
            self.size_bytes += settled.size_bytes
            while self.size_bytes > self._bytes_max:
                _, (_, oldest) = self._entries.popitem(last=False)
                self.size_bytes -= oldest.size_bytes
