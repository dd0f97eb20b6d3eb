"""Owns the columns that hot reads are answered from: an LRU by bytes, of immutable values.

A value is never changed, only dropped, so a reader can hold one as long as it likes and never sees half of
a change. The hard part is not to keep an old one: the follower drops a source while its batch is not yet
in the store, and a reader that loads just then would put the old value back, for good. Therefore
- sources of the batch at hand are *pending*: loaded from the store for every read, not kept, until the store
  shows that the batch was written (its number);
- a value whose load began before the latest batch is answered, not kept.
One lock, held for dictionary steps only. Next: `service.py`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

ENTRY_BYTES: Final = 700
"""About what an entry costs beside its columns: key, node, dataclasses, array headers."""


class HasBytes(Protocol):
    """Columns, or one array."""

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        ...


T = TypeVar("T", bound=HasBytes)


class PendingBatch:
    """The sources of the follower's latest batch, shared by all caches of a process."""

    def __init__(self, written_number: Callable[[], int]) -> None:
        self.lock = threading.Lock()
        self.number = written_number()
        """Of the latest batch; a reader compares it before and after loading."""
        self._written_number = written_number
        self._sources: frozenset[int] = frozenset()
        self._caches: list[ColumnCache[HasBytes]] = []

    def add(self, cache: ColumnCache[HasBytes]) -> None:
        """A cache to drop sources from."""
        self._caches.append(cache)

    def begin(self, sources: Iterable[int]) -> int:
        """Before a batch is written: its number. Called by the follower only, so the last one was written."""
        with self.lock:
            self.number += 1
            self._sources = frozenset(sources)
            for cache in self._caches:
                cache.drop(self._sources)
            return self.number

    def settle(self) -> None:
        """Forget the pending sources when their batch was written: a read of the store, so not every time."""
        with self.lock:
            number, settled = self.number, not self._sources
        if not settled and self._written_number() >= number:
            with self.lock:
                if self.number == number:
                    self._sources = frozenset()

    def is_pending(self, source: int) -> bool:
        """Whether a source's batch may not be written yet. Under the lock."""
        return source in self._sources


@dataclass(slots=True)
class CacheCounts:
    """What a cache did; read by metrics, exact to a few."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class ColumnCache(Generic[T]):
    """Columns by source. `get` loads what is not there, outside of the lock; two readers may both load."""

    def __init__(self, pending: PendingBatch, load: Callable[[int], T], *, bytes_max: int) -> None:
        self.counts = CacheCounts()
        self.nbytes = 0
        self._pending = pending
        self._load = load
        self._bytes_max = bytes_max
        self._values: OrderedDict[int, T] = OrderedDict()
        pending.add(self)  # type: ignore[arg-type]  # a cache of columns is dropped from, never added to

    def __len__(self) -> int:
        return len(self._values)

    def get(self, source: int) -> T:
        """The columns of one source."""
        return self.get_many((source,))[0]

    def get_many(self, sources: Sequence[int]) -> list[T]:
        """The columns of each source, those that are there under one hold of the lock."""
        with self._pending.lock:
            found = [self._values.get(source) for source in sources]
            for source, value in zip(sources, found, strict=True):
                if value is not None:
                    self._values.move_to_end(source)
            self.counts.hits += sum(value is not None for value in found)
        return [
            self._loaded(source) if value is None else value
            for source, value in zip(sources, found, strict=True)
        ]

    def drop(self, sources: Iterable[int]) -> None:
        """Drop values. Under the lock."""
        for source in sources:
            value = self._values.pop(source, None)
            if value is not None:
                self.nbytes -= value.nbytes + ENTRY_BYTES

    def _loaded(self, source: int) -> T:
        pending = self._pending
        pending.settle()
        with pending.lock:
            began = pending.number
        value = self._load(source)
        with pending.lock:
            self.counts.misses += 1
            if pending.number == began and not pending.is_pending(source):
                self._keep(source, value)
        return value

    def _keep(self, source: int, value: T) -> None:
        self.drop((source,))
        self._values[source] = value
        self.nbytes += value.nbytes + ENTRY_BYTES
        while self.nbytes > self._bytes_max:
            oldest = next(iter(self._values))
            self.drop((oldest,))
            self.counts.evictions += 1
