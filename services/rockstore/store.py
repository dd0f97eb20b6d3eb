"""The only file that knows Rockstore's keys and bytes.

    family   key (big-endian, in sort order)              value (little-endian)
    objects  shard u16 | kind u8 | id u64                 header 24 | serialised Pin, Board, User or Interest
    rows     shard u16 | kind u8 | id u64                 header 24 | f32 × feature_count | u64 × id_count
    due      shard u16 | gone_ms u64 | kind u8 | id u64   empty: a cell that is gone then
    system   the follower's offsets

    header   format u8 (1) | deleted u8 | schema_version u16 | feature_count u16 | id_count u16
             | version u64 | gone_ms i64

Objects and rows are two families so that a read of 1,000 rows does not drag their texts along. There is no
checksum in a value: RocksDB keeps one per block and checks it at each read; lengths are checked here.
`due` makes purging cost what is due, not what is stored; its entry may outlive the cell's expiry (the cell
was overwritten) and is then only dropped. Decides nothing about versions: see `cells.py` and `ingest.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.chassis.ids import ShardScheme, shards_of
from services.chassis.storage import Batch, Family, Store, edge_family, object_family, small_family
from services.rockstore.cells import Row, is_there, replaces
from services.rockstore.schema import StoredRows

OBJECTS: Final = "objects"
ROWS: Final = "rows"
DUE: Final = "due"
FAMILIES: Final[Mapping[str, Family]] = {
    OBJECTS: object_family(),
    ROWS: object_family(),
    DUE: edge_family(2),
    "system": small_family(),
}

FORMAT: Final = 1
_HEADER: Final = struct.Struct("<BBHHHQq")
_HEADER_DTYPE: Final = np.dtype(
    [
        ("format", "u1"),
        ("deleted", "u1"),
        ("schema_version", "<u2"),
        ("feature_count", "<u2"),
        ("id_count", "<u2"),
        ("version", "<u8"),
        ("gone_ms", "<i8"),
    ]
)
assert _HEADER.size == _HEADER_DTYPE.itemsize == 24, "a multiple of 8 keeps the columns behind it aligned"
_KEY_DTYPE: Final = np.dtype([("shard", ">u2"), ("kind", "u1"), ("id", ">u8")])
KEY_BYTES: Final = 11
assert _KEY_DTYPE.itemsize == KEY_BYTES
_DUE_KEY: Final = struct.Struct(">HQBQ")

Covers: TypeAlias = Callable[[int, Sequence[bytes], NDArray[np.uint64]], NDArray[np.bool_]]
"""Kind, cell keys and versions → whether a loaded row lies under the cell (`loads/generations.py`)."""

Kinds: TypeAlias = int | Sequence[int] | NDArray[np.uint8]
"""The kind of all ids, or of each."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A stored value's header."""

    version: int
    deleted: bool
    gone_ms: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is there."""

    version: int
    object: bytes


class LoadedValues(Protocol):
    """A generation of loaded rows, whose values look as those of `rows` do."""

    def values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """In the order of `keys`; None where it has none."""
        ...


class RockstoreStore:
    """Objects and rows by kind and id. Any thread reads; only the follower's thread fills batches."""

    def __init__(self, store: Store, *, num_shards: int, scheme: ShardScheme = ShardScheme.HASHED) -> None:
        self._store = store
        self._num_shards = num_shards
        self._scheme = scheme

    def keys(self, kinds: Kinds, ids: NDArray[np.uint64]) -> list[bytes]:
        """The cell keys of `ids`; `kinds` is one for all, or one for each."""
        return cell_keys(kinds, ids, shards_of(ids, num_shards=self._num_shards, scheme=self._scheme))

    def objects(self, kinds: Kinds, ids: NDArray[np.uint64], *, now_ms: int) -> list[StoredObject | None]:
        """Objects in the order of `ids`; None where there is none, it was deleted, or it has expired."""
        values = self._store.multi_get(OBJECTS, self.keys(kinds, ids))
        return [None if value is None else _object(value, now_ms) for value in values]

    def rows(
        self, kind: int, ids: NDArray[np.uint64], *, now_ms: int, loaded: LoadedValues | None = None
    ) -> list[StoredRows]:
        """The rows of `ids` that are there, grouped by schema version and width, places by `ids`.

        Of a row that was written one by one and one of `loaded`, the version decides which it is: also when
        the winner is a tombstone, or has expired.
        """
        keys = self.keys(kind, ids)
        values = self._store.multi_get(ROWS, keys)
        if loaded is not None:
            values = [_newer(one, other) for one, other in zip(values, loaded.values(keys), strict=True)]
        places_of: dict[int, list[int]] = {}
        for place, value in enumerate(values):
            if value is not None:
                places_of.setdefault(len(value), []).append(place)
        return [
            rows
            for size_bytes, places in places_of.items()
            for rows in _rows(b"".join([values[p] or b"" for p in places]), places, size_bytes, now_ms)
        ]

    def row_ids(self, kind: int, shard: int, *, after: int, limit: int) -> NDArray[np.uint64]:
        """Ids of rows of one kind and shard that were written one by one, ascending, greater than `after`."""
        start = struct.pack(">HBQ", shard, kind, after + 1)
        end = struct.pack(">HB", shard, kind + 1)
        keys = [key[3:] for key, _ in islice(self._store.scan(ROWS, start=start, end=end), limit)]
        ids = np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)
        # As the columns of a message are: what may be written is another type to numba, and would compile.
        ids.flags.writeable = False
        return ids

    def cells(self, family: str, keys: Sequence[bytes]) -> list[Cell | None]:
        """Headers in the order of `keys`; None where nothing is stored."""
        return [None if value is None else _cell(value) for value in self._store.multi_get(family, keys)]

    def put_object(self, batch: Batch, key: bytes, *, version: int, gone_ms: int, object: bytes) -> None:
        """Write an object; `gone_ms` is its expiry, 0 for none."""
        batch.put(OBJECTS, key, _HEADER.pack(FORMAT, 0, 0, 0, 0, version, gone_ms) + object)
        _put_due(batch, key, gone_ms)

    def put_row(self, batch: Batch, key: bytes, *, version: int, gone_ms: int, row: Row) -> None:
        """Write a feature row; `gone_ms` is its expiry, 0 for none."""
        counts = (row.schema_version, len(row.features_f32) // 4, len(row.ids_u64) // 8)
        header = _HEADER.pack(FORMAT, 0, *counts, version, gone_ms)
        batch.put(ROWS, key, header + row.features_f32 + row.ids_u64)
        _put_due(batch, key, gone_ms)

    def put_tombstone(self, batch: Batch, family: str, key: bytes, *, version: int, gone_ms: int) -> None:
        """Write that the cell was deleted at `gone_ms` with `version`."""
        batch.put(family, key, _HEADER.pack(FORMAT, 1, 0, 0, 0, version, gone_ms))
        _put_due(batch, key, gone_ms)

    def purge(
        self,
        batch: Batch,
        *,
        shard: int,
        before_ms: int,
        now_ms: int,
        entries_max: int,
        covers: Covers,
    ) -> int:
        """Delete the shard's cells that were gone before `before_ms`; returns how many.

        Looks at `entries_max` entries at most, oldest first; the rest is for the next call. A row over a
        loaded one, which `covers` knows, becomes a tombstone that is gone from `now_ms` on: deleted, it
        would bring the loaded row to light.
        """
        start, end = struct.pack(">H", shard), struct.pack(">HQ", shard, max(before_ms, 0))
        due: list[bytes] = []
        for key, _ in self._store.scan(DUE, start=start, end=end):
            due.append(key)
            if len(due) >= entries_max:
                break
        purged_count = 0
        cell_keys = [key[:2] + key[10:] for key in due]
        for family in (OBJECTS, ROWS):
            for due_key, cell_key, cell in zip(due, cell_keys, self.cells(family, cell_keys), strict=True):
                if cell is None or cell.gone_ms != int.from_bytes(due_key[2:10], "big"):
                    continue
                if family == ROWS and covers(cell_key[2], [cell_key], np.array([cell.version], np.uint64))[0]:
                    self.put_tombstone(batch, ROWS, cell_key, version=cell.version, gone_ms=now_ms)
                    continue
                batch.delete(family, cell_key)
                purged_count += 1
        for key in due:
            batch.delete(DUE, key)
        return purged_count


def cell_keys(kinds: Kinds, ids: NDArray[np.uint64], shards: NDArray[np.integer]) -> list[bytes]:
    """The keys of cells whose shards are known, aligned."""
    keys = np.empty(len(ids), _KEY_DTYPE)
    keys["shard"] = shards
    keys["kind"] = kinds
    keys["id"] = ids
    # Void, not "S11": a byte string would lose its trailing zeros.
    split: list[bytes] = keys.view(f"V{KEY_BYTES}").tolist()
    return split


def row_cells(
    features: NDArray[np.float32], ids: NDArray[np.uint64], *, schema_version: int, version: int, gone_ms: int
) -> list[bytes]:
    """The values of rows of one schema, version and expiry, aligned."""
    head = _HEADER.pack(FORMAT, 0, schema_version, features.shape[1], ids.shape[1], version, gone_ms)
    split = len(head) + 4 * features.shape[1]
    cells = np.empty((len(features), split + 8 * ids.shape[1]), np.uint8)
    cells[:, : len(head)] = np.frombuffer(head, np.uint8)
    cells[:, len(head) : split] = np.ascontiguousarray(features, "<f4").view(np.uint8)
    cells[:, split:] = np.ascontiguousarray(ids, "<u8").view(np.uint8)
    values: list[bytes] = cells.view(f"V{cells.shape[1]}")[:, 0].tolist()
    return values


def _put_due(batch: Batch, key: bytes, gone_ms: int) -> None:
    if gone_ms:
        shard, kind = int.from_bytes(key[:2], "big"), key[2]
        batch.put(DUE, _DUE_KEY.pack(shard, gone_ms, kind, int.from_bytes(key[3:], "big")), b"")


def _header(value: bytes) -> tuple[int, ...]:
    if len(value) < _HEADER.size or value[0] != FORMAT:
        raise _corrupt(value)
    return _HEADER.unpack_from(value)


def _cell(value: bytes) -> Cell:
    _, deleted, _, _, _, version, gone_ms = _header(value)
    return Cell(version, bool(deleted), gone_ms)


def _newer(written: bytes | None, loaded: bytes | None) -> bytes | None:
    if written is None or loaded is None:
        return loaded if written is None else written
    wins = replaces(version=_cell(written).version, stored_version=_cell(loaded).version)
    return written if wins else loaded


def _object(value: bytes, now_ms: int) -> StoredObject | None:
    _, deleted, _, _, _, version, gone_ms = _header(value)
    if not is_there(deleted=bool(deleted), gone_ms=gone_ms, now_ms=now_ms):
        return None
    return StoredObject(version, value[_HEADER.size :])


def _rows(joined: bytes, places: Iterable[int], size_bytes: int, now_ms: int) -> Iterator[StoredRows]:
    """Rows of one length, cut into groups of one schema version and width."""
    if size_bytes < _HEADER.size:
        raise _corrupt(joined[:size_bytes])
    cells = np.frombuffer(joined, np.uint8).reshape(-1, size_bytes)
    headers = np.ascontiguousarray(cells[:, : _HEADER.size]).view(_HEADER_DTYPE)[:, 0]
    feature_bytes = headers["feature_count"].astype(np.intp) * 4
    fits = (headers["format"] == FORMAT) & (
        feature_bytes + headers["id_count"].astype(np.intp) * 8 == size_bytes - _HEADER.size
    )
    if not fits.all():
        raise _corrupt(cells[int(np.argmin(fits))].tobytes())
    gone_ms = headers["gone_ms"]
    there = (headers["deleted"] == 0) & ((gone_ms == 0) | (now_ms < gone_ms))
    all_places = np.fromiter(places, np.intp, len(cells))
    shapes = (headers["schema_version"].astype(np.uint64) << np.uint64(16)) | headers["feature_count"]
    for shape in np.unique(shapes[there]):
        chosen = np.flatnonzero(there & (shapes == shape))
        split = _HEADER.size + int(shape & np.uint64(0xFFFF)) * 4
        yield StoredRows(
            places=all_places[chosen],
            version=int(shape >> np.uint64(16)),
            features=np.ascontiguousarray(cells[chosen, _HEADER.size : split]).view("<f4"),
            ids=np.ascontiguousarray(cells[chosen, split:]).view("<u8"),
            gone_ms=gone_ms[chosen],
        )


def _corrupt(value: bytes) -> CorruptValue:
    return CorruptValue(
        f"a stored value of {len(value)} bytes has no valid header: restore a checkpoint, or read it "
        "with the version that wrote it",
        size_bytes=len(value),
    )
