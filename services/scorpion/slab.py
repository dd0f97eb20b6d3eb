"""One slab of cached rows: features of rows of one kind, and the bytes that models make of them.

A row has its final feature values, which of them were defaulted, its id columns, and for each *resident*
model (the one that serves, and the one that is about to) the model's own bytes: a request reads these where
they lie, and bins nothing that was cached. Other models, and explanations, use the values.
Memory is bounded: all arrays are made at the start, for as many rows as fit; pages that were never written
take none. Row 0 is the row of nobody: what a feature is when nothing is known.
Not safe from several threads: `cache.py` locks. Next: `slab_kernels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.scorpion import slab_kernels as kernels
from services.scorpion.features import FeatureList, RowColumns
from services.scorpion.forest.bins import Part

RESIDENTS: Final = 2
"""Models whose bytes are kept: the serving one, and while it is swapped the next."""
BYTES_PER_FEATURE: Final = 1
"""Of a resident's row. All residents together have twice as many: a model that needs more (many categories,
missing values that go both ways) can be the only one, or is binned in each request instead."""
_INDEX_BYTES: Final = kernels.ROW.itemsize + 4 * 4
"""A slot, and up to four places in the table."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """Computed rows, aligned: what a fetch becomes before it is cached.

    `values` float32 (row, feature of the kind), `missing` uint8 of that shape, `ids` uint64 (row, id column).
    """

    values: NDArray[np.float32]
    missing: NDArray[np.uint8]
    ids: NDArray[np.uint64]
    bins: dict[Part, NDArray[np.int8]] = field(default_factory=dict)
    """The bytes of models that were made already, int8 (row, part.width)."""

    def chosen(self, rows: NDArray[np.bool_] | slice) -> FeatureRows:
        """Some of the rows."""
        bins = {part: bins[rows] for part, bins in self.bins.items()}
        return FeatureRows(self.values[rows], self.missing[rows], self.ids[rows], bins)

    def bins_of(self, part: Part) -> NDArray[np.int8]:
        """The bytes of a model, made when they are not there."""
        bins = self.bins.get(part)
        return part.bin(self.values) if bins is None else bins


class Slab:
    """Rows by id."""

    def __init__(self, features: FeatureList, columns: RowColumns, *, size_bytes: int) -> None:
        self.width = len(columns.features)
        unknown = features.missing_rows(1, columns.kind)
        computed = features.row_features(columns.kind, unknown.values)
        self._nobody = FeatureRows(computed.matrix, computed.missing, unknown.ids)
        self.capacity = size_bytes // row_bytes(columns)
        """Rows that fit; 0: nothing is kept."""
        slots = self.capacity + 1
        self._values = np.empty((slots, self.width), np.float32)
        self._missing = np.empty((slots, -(-self.width // 8)), np.uint8)
        self._ids = np.empty((slots, len(columns.id_columns)), np.uint64)
        self._index = _index(self.capacity)
        self._bins: dict[Part, NDArray[np.int8]] = {}
        # Residents of which every row has its bytes; the others have none of what came before them.
        self._whole: set[Part] = set()
        self._write(np.zeros(1, np.int32), self._nobody)

    def __len__(self) -> int:
        """Rows that are held, fresh or not."""
        return int(self._index.ends[kernels.COUNT])

    def find(self, ids: NDArray[np.uint64], fresh: kernels.Fresh) -> tuple[NDArray[np.int32], int]:
        """Slots of the ids, int32 (row,), −1 where no fresh row is; and how many there are."""
        slots = np.empty(len(ids), np.int32)
        # Columns of a message are read-only, and one that may be written is another type to numba.
        asked = ids.view()
        asked.flags.writeable = False
        return slots, int(kernels.find(self._index, asked, fresh, slots))

    def keep(self, ids: NDArray[np.uint64], rows: FeatureRows, *, fetched_s: float, cover: int) -> int:
        """Cache rows of distinct ids, none of them 0; how many others made room for them."""
        if len(ids) > self.capacity:
            # More than fit would evict each other.
            last = slice(len(ids) - self.capacity, None)
            ids, rows = ids[last], rows.chosen(last)
        slots = np.empty(len(ids), np.int32)
        evicted = kernels.keep(self._index, ids, fetched_s, cover, slots)
        self._write(slots, rows)
        return int(evicted)

    @property
    def residents(self) -> tuple[Part, ...]:
        """Models whose bytes are kept."""
        return tuple(self._bins)

    def bins(self, part: Part) -> NDArray[np.int8] | None:
        """The bytes of a resident model by slot, int8 (slot, part.width).

        None for another model, and for one whose bytes are still being made: a request may name a model that
        is about to serve.
        """
        return self._bins[part] if part in self._whole else None

    def values(self, slots: NDArray[np.int32]) -> FeatureRows:
        """Copies of the rows in these slots."""
        missing = np.unpackbits(self._missing[slots], axis=1, count=self.width)
        return FeatureRows(self._values[slots], missing, self._ids[slots])

    def id_columns(self, slots: NDArray[np.int32]) -> NDArray[np.uint64]:
        """A copy of their id columns, uint64 (row, id column)."""
        return self._ids[slots]

    def fetched_s(self, slots: NDArray[np.int32]) -> NDArray[np.float64]:
        """When the fetch of each began; of row 0, NaN."""
        return np.where(slots > 0, self._index.rows["fetched_s"][slots], np.nan)

    def admit(self, part: Part) -> bool:
        """Make room for a model's bytes; rows that come from now on have them, the others after `rebin`.

        False: there is no room for it beside the residents that are there; its requests are binned as they
        come.
        """
        if part in self._bins:
            return True
        taken = sum(resident.width for resident in self._bins)
        if taken + part.width > RESIDENTS * BYTES_PER_FEATURE * self.width or len(self._bins) == RESIDENTS:
            return False
        bins = np.empty((self.capacity + 1, part.width), np.int8)
        bins[:1] = part.bin(self._nobody.values)
        self._bins[part] = bins
        return True

    def rebin(self, part: Part, *, start: int, count: int) -> bool:
        """Bytes of an admitted model for slots [start, start + count); whether there are slots behind.

        From 0 on, one run behind the other: after the last, the model's bytes may be read.
        """
        end = min(start + count, len(self) + 1)
        self._bins[part][start:end] = part.bin(self._values[start:end])
        if end > len(self):
            self._whole.add(part)
        return end <= len(self)

    def dismiss(self, part: Part) -> None:
        """Free a model's bytes. A request that still reads them keeps them alive, but finds stale rows: it
        must not look up again."""
        self._bins.pop(part, None)
        self._whole.discard(part)

    def _write(self, slots: NDArray[np.int32], rows: FeatureRows) -> None:
        self._values[slots] = rows.values
        self._missing[slots] = np.packbits(rows.missing, axis=1)
        self._ids[slots] = rows.ids
        for part, bins in self._bins.items():
            bins[slots] = rows.bins_of(part)


def warm() -> None:
    """Compile the kernels, or load them, with the types of a request."""
    index, slots = _index(1), np.zeros(1, np.int32)
    asked = np.ones(1, np.uint64)
    kernels.keep(index, asked, 0.0, 0, slots)
    asked.flags.writeable = False
    kernels.find(index, asked, kernels.Fresh(0.0, 0, np.zeros(0, np.bool_)), slots)


def row_bytes(columns: RowColumns) -> int:
    """Most memory of one cached row, residents and index included."""
    width = len(columns.features)
    values = 4 * width + -(-width // 8) + 8 * len(columns.id_columns)
    return values + RESIDENTS * BYTES_PER_FEATURE * width + _INDEX_BYTES


def _index(capacity: int) -> kernels.Index:
    bits = max(2 * (capacity + 1) - 1, 1).bit_length()
    return kernels.Index(
        table=np.zeros(1 << bits, np.int32),
        shift=np.uint64(64 - bits),
        rows=np.zeros(capacity + 1, kernels.ROW),
        ends=np.zeros(3, np.int64),
    )
