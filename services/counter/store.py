"""The only file that knows Counter's keys and bytes.

    family   key (big-endian, in sort order)   value (little-endian)
    rows     shard u16 | entity u64            layout u32 | last_ms i64 | u32 × totals | f32 × decayed
                                              | u16 × slots of the windowed counters
    system   "counter/layouts"                 the list of layouts, JSON (`layout.py`)
             and the follower's offsets

Rows are never read one by one: the table in memory answers, and start-up reads the family from end to
end. So `rows` is a block table, not the plain table that suits counters read from disk: a plain table
forbids delete_range (the way to drop a shard that moved away), sorts its whole hash memtable for every
scan, stores uncompressed, and its fast point reads would serve nobody. No checksum of our own: RocksDB
checks its blocks; lengths are checked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Batch, Family, Store, small_family
from services.counter.counters import Counters
from services.counter.layout import Layout, decode_layouts, encode_layouts, next_layouts, upgrade
from services.counter.table import Rows

ROWS: Final = "rows"
SYSTEM: Final = "system"
FAMILIES: Final[Mapping[str, Family]] = {
    ROWS: Family(write_buffer_bytes=16 << 20, block_bytes=16 << 10, compression=("none", "lz4")),
    SYSTEM: small_family(),
}
LAYOUTS_KEY: Final = b"counter/layouts"
LOAD_CHUNK: Final = 1 << 16
"""Rows turned into arrays at once at start-up."""

_KEY_DTYPE: Final = np.dtype([("shard", ">u2"), ("entity", ">u8")])


class CounterStore:
    """Rows of counts. Reads at start-up; afterwards only the follower's thread calls it, to fill batches."""

    def __init__(self, store: Store, counters: Counters, owned: OwnedShards) -> None:
        self._store = store
        self._owned = owned
        known = decode_layouts(store.get(SYSTEM, LAYOUTS_KEY))
        layouts = next_layouts(known, counters)
        if len(layouts) > len(known):
            # Before the first row of the new layout, and harmless without one.
            batch = store.batch()
            batch.put(SYSTEM, LAYOUTS_KEY, encode_layouts(layouts))
            store.write(batch, sync=True)
        self._layouts = {layout.number: layout for layout in layouts}
        self._current = layouts[-1]

    def put(self, batch: Batch, rows: Rows) -> None:
        """Write whole rows under the current layout."""
        keys = np.empty(len(rows.entities), _KEY_DTYPE)
        keys["shard"] = self._owned.shards_of(rows.entities)
        keys["entity"] = rows.entities
        values = np.empty(len(rows.entities), self._current.row_dtype)
        values["layout"] = self._current.number
        values["last_ms"] = rows.last_ms
        values["totals"] = rows.totals
        values["decayed"] = rows.decayed
        values["cells"] = rows.cells
        # Void, not "S": byte strings would lose their trailing zeros.
        for key, value in zip(_split(keys), _split(values), strict=True):
            batch.put(ROWS, key, value)

    def load(self) -> Iterator[Rows]:
        """All rows of this process's shards under the current layout, in pieces.

        Rows of shards that have moved away are passed over; nothing deletes them.

        Raises:
            CorruptValue: a row cannot be read.
        """
        # By length of the value, because rows of several layouts lie mixed. Bytes grown in place: lists of
        # rows cost three times as much, most of it in the garbage collector.
        keys: dict[int, bytearray] = {}
        values: dict[int, bytearray] = {}
        for row_count, (key, value) in enumerate(self._store.scan(ROWS), start=1):
            size_bytes = len(value)
            if size_bytes not in keys:
                keys[size_bytes], values[size_bytes] = bytearray(), bytearray()
            if len(key) != _KEY_DTYPE.itemsize:
                raise _corrupt(key, value)
            keys[size_bytes] += key
            values[size_bytes] += value
            if row_count % LOAD_CHUNK == 0:
                for size, joined in keys.items():
                    yield from self._rows(bytes(joined), bytes(values[size]), size_bytes=size)
                keys, values = {}, {}
        for size, joined in keys.items():
            yield from self._rows(bytes(joined), bytes(values[size]), size_bytes=size)

    def _rows(self, keys: bytes, values: bytes, *, size_bytes: int) -> Iterator[Rows]:
        """Rows of one length."""
        if size_bytes < 4:
            raise _corrupt(keys[: _KEY_DTYPE.itemsize], values[:size_bytes])
        parsed = np.frombuffer(keys, _KEY_DTYPE)
        entities = parsed["entity"].astype(np.uint64)
        cells = np.frombuffer(values, np.uint8).reshape(-1, size_bytes)
        numbers = np.ascontiguousarray(cells[:, :4]).view("<u4")[:, 0]
        shards = parsed["shard"].astype(np.intp)
        if shards.max() >= self._owned.num_shards:
            raise CorruptValue(
                f"a row lies in shard {shards.max()} of {self._owned.num_shards}: num_shards was changed, "
                "which stored keys cannot follow; change it back, or follow the log anew into an empty store"
            )
        here = self._owned.mask[shards]
        for number in np.unique(numbers):
            layout = self._layouts.get(int(number))
            chosen = here & (numbers == number)
            if layout is None or layout.row_dtype.itemsize != size_bytes:
                first = int(np.argmax(numbers == number))
                raise _corrupt(parsed[first].tobytes(), cells[first].tobytes())
            # Without a copy when all rows are chosen, the usual case.
            some = cells if chosen.all() else cells[chosen]
            yield self._upgraded(entities[chosen], some.reshape(-1).view(layout.row_dtype), layout)

    def _upgraded(self, entities: NDArray[np.uint64], values: NDArray[np.void], layout: Layout) -> Rows:
        rows = Rows(
            entities,
            values["last_ms"].astype(np.int64),
            values["totals"].astype(np.uint32),
            values["decayed"].astype(np.float32),
            values["cells"].astype(np.uint16),
        )
        return upgrade(rows, old=layout, new=self._current)


def _split(records: NDArray[np.void]) -> list[bytes]:
    split: list[bytes] = records.view(f"V{records.dtype.itemsize}").tolist()
    return split


def _corrupt(key: bytes, value: bytes) -> CorruptValue:
    return CorruptValue(
        f"the row {key.hex()} of {len(value)} bytes is of no known layout: restore a checkpoint, or read it "
        "with the version that wrote it",
        key=key.hex(),
    )
