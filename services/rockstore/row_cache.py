"""The row cache: rows of one kind under its newest schema, in one slab of memory, never stale.

Many threads read it, the follower's thread writes through it, and reads that missed fill it. Absent and
deleted rows are kept too, as rows that are gone, so asking for them again costs no look-up in the store.
*Why a fill cannot bring back what was overwritten.* A read that missed looks into the store while the
follower may be writing there. So each batch of the follower has a number, `epoch`, and each id a stamp
(shared by 1 in 65,536 ids): `IN_FLIGHT` from the moment the batch is applied, when it is not in the store
yet, and the *next* batch's epoch from then on, when it is. A fill brings the epoch of its look-up, and is
refused for ids with a later stamp. When the log falls silent, the view's upkeep takes the place of the next
batch (`write` with None).
A generation of loaded rows (`loads/`) is part of what rows are merged from: rows of one generation are never
answered to a read of another.
*Not* guaranteed: least recently used in the strict sense; see `row_kernels.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.columns.guard import ReadWriteGuard
from services.rockstore import row_kernels
from services.rockstore.schema import FeatureRows, Schema

PLACE_BYTES: Final = 18
"""Of one row beside its words: tag 8, expiry 8, mark 1, and its part of the set's hand, rounded up."""
IN_FLIGHT: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""Stamp of what is applied and may not be in the store yet; later than every epoch."""
FILL_SLICE: Final = 1_000
"""Rows put in while readers wait: a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the cache knows of a request's ids."""

    features: NDArray[np.float32]
    """Shape (id, feature); defaults where absent. Writable; in all three, missed rows hold anything."""
    ids: NDArray[np.uint64]
    """Shape (id, id column)."""
    present: NDArray[np.uint8]
    missed: NDArray[np.int64]
    """Rows of the request to look up in the store."""
    epoch: int
    """To be handed to `fill`: of before the look-up."""


@dataclass(frozen=True, slots=True)
class Written:
    """Rows that a batch of the follower leaves, aligned; of each id once."""

    ids: NDArray[np.uint64]
    rows: FeatureRows
    is_newest: NDArray[np.uint8]
    """0 where a loaded row may have a higher version: not kept, but looked up again."""


class RowCache:
    """Rows of one kind by id. `gather` and `fill` from any thread, `write` from the follower's."""

    def __init__(
        self, schema: Schema, *, cache_bytes: int, evicted: Callable[[int], None] = lambda count: None
    ) -> None:
        self._feature_count = len(schema.features)
        self._id_count = len(schema.id_columns)
        words = self._feature_count + 2 * self._id_count
        set_count = cache_bytes // (row_kernels.WAYS * (4 * words + PLACE_BYTES))
        self.capacity = set_count * row_kernels.WAYS
        """Rows that fit; 0: nothing is kept."""
        # Pages that were never written take no memory, so a large slab costs nothing before it fills.
        self._table = row_kernels.Table(
            tags=np.zeros(self.capacity, np.uint64),
            gone_ms=np.zeros(self.capacity, np.int64),
            read=np.zeros(self.capacity, np.uint8),
            hands=np.zeros(set_count, np.uint8),
            words=np.empty((self.capacity, words), np.uint32),
        )
        self._defaults = np.asarray(schema.defaults, np.float32).view(np.uint32)
        self._guard = ReadWriteGuard()
        self._epoch = 0
        self._stamps = np.zeros(1 << row_kernels.STAMP_BITS, np.uint64)
        self._in_flight = np.empty(0, np.uint64)
        self._generation = 0
        self._row_count = 0
        self._evicted = evicted

    def __len__(self) -> int:
        """Rows that are held, those that are gone included."""
        return self._row_count

    @property
    def size_bytes(self) -> int:
        """Bytes of the rows that are held."""
        row_bytes: int = 4 * self._table.words.shape[1] + PLACE_BYTES
        return self._row_count * row_bytes

    @property
    def is_in_flight(self) -> bool:
        """Whether the last batch is not known to be in the store."""
        return len(self._in_flight) > 0

    def gather(self, asked: NDArray[np.uint64], *, now_ms: int, generation: int) -> Gathered:
        """What is known of `asked`, merged with the loaded rows of `generation`."""
        count = len(asked)
        features = np.empty((count, self._feature_count), np.uint32)
        ids = np.empty((count, 2 * self._id_count), np.uint32)
        answer = row_kernels.Answer(features, ids, np.empty(count, np.uint8), np.empty(count, np.int64))
        with self._guard.read():
            epoch = self._epoch
            if self.capacity and self._generation == generation:
                miss_count = row_kernels.gather(self._table, asked, np.int64(now_ms), self._defaults, answer)
            else:
                answer.missed[:] = np.arange(count)
                miss_count = count
        return Gathered(
            features=features.view(np.float32),
            ids=ids.view(np.uint64),
            present=answer.present,
            missed=answer.missed[:miss_count],
            epoch=epoch,
        )

    def fill(self, ids: NDArray[np.uint64], rows: FeatureRows, *, epoch: int, generation: int) -> None:
        """Keep what the store answered for `ids`, aligned; `epoch` is that of before the look-up.

        Rows that were written meanwhile are left out, and so are unreadable ones: these are to be counted
        each time they are asked for.
        """
        if not self.capacity:
            return
        readable = (~rows.unreadable).view(np.uint8)
        words = self._words(rows)
        evicted_count = 0
        for start in range(0, len(ids), FILL_SLICE):
            part = slice(start, start + FILL_SLICE)
            with self._guard.write():
                if self._generation != generation:
                    break
                wanted = row_kernels.stamped_until(self._stamps, ids[part], np.uint64(epoch))
                wanted &= readable[part]
                evicted_count += self._put(ids[part], rows.gone_ms[part], words[part], wanted)
        self._evicted(evicted_count)

    def write(self, written: Written | None, *, generation: int) -> None:
        """Begin the follower's next batch, which writes `written` (None: nothing of this kind).

        The batch before is in the store by now; this one is not yet.
        """
        if not self.capacity or (written is None and not len(self._in_flight)):
            return
        ids = np.empty(0, np.uint64) if written is None else written.ids
        words = None if written is None else self._words(written.rows)
        evicted_count = 0
        with self._guard.write():
            self._epoch += 1
            row_kernels.stamp(self._stamps, self._in_flight, np.uint64(self._epoch))
            # After the line above: what is in both batches is in flight.
            row_kernels.stamp(self._stamps, ids, IN_FLIGHT)
            if written is not None and words is not None:
                known = (
                    written.is_newest if self._generation == generation else np.zeros_like(written.is_newest)
                )
                self._row_count -= int(row_kernels.drop(self._table, ids[known == 0]))
                evicted_count = self._put(ids, written.rows.gone_ms, words, known)
        self._in_flight = ids
        self._evicted(evicted_count)

    def clear(self, *, generation: int) -> None:
        """Forget all; from now on rows are those merged with `generation`."""
        with self._guard.write():
            self._generation = generation
            self._table.tags[:] = row_kernels.NOBODY
            self._table.read[:] = 0
            self._row_count = 0

    def _put(
        self,
        ids: NDArray[np.uint64],
        gone_ms: NDArray[np.int64],
        words: NDArray[np.uint32],
        wanted: NDArray[np.uint8],
    ) -> int:
        added_count, evicted_count = row_kernels.put(self._table, ids, gone_ms, words, wanted)
        self._row_count += int(added_count)
        return int(evicted_count)

    def _words(self, rows: FeatureRows) -> NDArray[np.uint32]:
        words = np.empty((len(rows.present), self._table.words.shape[1]), np.uint32)
        words[:, : self._feature_count] = rows.features.view(np.uint32)
        words[:, self._feature_count :] = rows.ids.view(np.uint32)
        return words
