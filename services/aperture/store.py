"""Owns Aperture's keys and bytes.

    family    key                                                   value
    history   shard u16 | user u64 | bucket u32 | 0                 frozen bucket (`frozen.py`)
              shard u16 | user u64 | bucket u32 | 1 | generation u64 tail: packed rows, spilled from memory
    redo      shard u16 | lane u8 | sequence u64                    groups: user, bucket u32, bytes u32, rows
    buckets   shard u16 | 0 | bucket u32 | user u64                 open: the bucket has tails to freeze
              shard u16 | 1 | bucket u32 | user u64                 closed: it has a frozen part
    meta      shard u16 | 0 | lane u8                               generation u64 of the lane
              shard u16 | 1 | user u64                              buckets of a forgotten user: u32 each
    system    aperture/clock, aperture/layout; the follower's       greatest record time; seconds of a bucket

Big-endian keys, shard first: a shard is one range of each family. All of a user lies together, so a reader
takes frozen buckets and tails with one iterator, which sees one moment: a freeze commits before it or after.
`buckets` is what the freezer and retention walk: by bucket, never over users who have nothing to do.
The redo log holds exactly the rows in memory: a lane's part is dropped in the batch that spills the lane.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.aperture import frozen
from services.aperture.mutable import LANES
from services.aperture.rows import ROW_BYTES, Rows, concat, unpack_rows
from services.chassis.errors import ConfigFaults, CorruptValue
from services.chassis.ids import mix64, mix64_array
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Batch, Family, Store, frozen_family, log_family, small_family

HISTORY: Final = "history"
REDO: Final = "redo"
BUCKETS: Final = "buckets"
META: Final = "meta"
SYSTEM: Final = "system"

OPEN: Final = 0
CLOSED: Final = 1
_FROZEN: Final = 0
_TAIL: Final = 1
_GENERATION: Final = 0
_ERASE: Final = 1

FORGET_BYTES: Final = 0xFFFF_FFFF
"""As the length of a redo group: the user's rows before it are gone."""

POINT_DELETES_MAX: Final = 64
"""Each deleted range slows later reads a little, each deleted key takes an entry of the batch."""

BUCKET_MAX: Final = 0xFFFF_FFFF
_USER = struct.Struct(">HQ")
_FROZEN_KEY = struct.Struct(">HQIB")
_TAIL_KEY = struct.Struct(">HQIBQ")
_REDO_KEY = struct.Struct(">HBQ")
_INDEX_KEY = struct.Struct(">HBIQ")
_META_LANE = struct.Struct(">HBB")
_META_USER = struct.Struct(">HBQ")
_GROUP = struct.Struct("<QII")
_U64 = struct.Struct("<Q")
_CLOCK_KEY: Final = b"aperture/clock"
_LAYOUT_KEY: Final = b"aperture/layout"


def families() -> Mapping[str, Family]:
    """The families of Aperture's store."""
    return {
        HISTORY: frozen_family(_USER.size),
        REDO: log_family(),
        BUCKETS: small_family(),
        META: small_family(),
        SYSTEM: small_family(),
    }


class Part(NamedTuple):
    """One stored piece of a user's history."""

    bucket: int
    generation: int | None
    """Of a tail; None for a frozen bucket."""
    key: bytes
    value: bytes

    @property
    def row_count(self) -> int:
        """Rows in it."""
        return len(self.value) // ROW_BYTES if self.generation is not None else frozen.row_count(self.value)


class Group(NamedTuple):
    """Rows of one user and one bucket in the redo log; `data` None: the user was forgotten."""

    user: int
    bucket: int
    data: bytes | None


class ApertureStore:
    """Keys and bytes. Any thread may read; what takes a batch is for the follower's thread only."""

    def __init__(self, store: Store, owned: OwnedShards, *, bucket_s: int) -> None:
        self._store = store
        self._owned = owned
        self.bucket_s = bucket_s
        self._check_layout()

    def lane_of(self, user: int) -> int:
        """Number of the user's lane in `Mutable`. Other bits of the hash than the shard's."""
        return self._owned.shard_of(user) * LANES + (mix64(user) >> 32) % LANES

    def lanes_of(self, users: NDArray[np.uint64]) -> NDArray[np.int64]:
        """`lane_of` of each user."""
        shards = self._owned.shards_of(users).astype(np.int64)
        return shards * LANES + ((mix64_array(users) >> np.uint64(32)) % np.uint64(LANES)).astype(np.int64)

    def history_back(self, user: int, *, from_bucket: int) -> Iterator[Part]:
        """The stored parts of the user, newest bucket first, all of one moment."""
        shard = self._owned.shard_of(user)
        start = _FROZEN_KEY.pack(shard, user, max(0, from_bucket), _FROZEN)
        end = _FROZEN_KEY.pack(shard, user, BUCKET_MAX, 0xFF)
        for key, value in self._store.scan_back(HISTORY, start=start, end=end):
            yield _part(key, value)

    def bucket_parts(self, shard: int, user: int, bucket: int) -> list[Part]:
        """The stored parts of one bucket of a user."""
        start = _FROZEN_KEY.pack(shard, user, bucket, _FROZEN)
        end = _FROZEN_KEY.pack(shard, user, bucket, 0xFF)
        return [_part(key, value) for key, value in self._store.scan(HISTORY, start=start, end=end)]

    def indexed(self, shard: int, state: int, *, before: int, limit: int) -> list[tuple[int, int]]:
        """(bucket, user) of open or closed buckets before `before`, oldest first, at most `limit`."""
        start = _INDEX_KEY.pack(shard, state, 0, 0)
        end = _INDEX_KEY.pack(shard, state, max(0, before), 0)
        rows = islice(self._store.scan(BUCKETS, start=start, end=end), limit)
        return [_INDEX_KEY.unpack(key)[2:] for key, _ in rows]

    def put_tail(self, batch: Batch, *, user: int, bucket: int, generation: int, data: bytes) -> None:
        """Store spilled rows, and mark the bucket as one to freeze."""
        shard = self._owned.shard_of(user)
        batch.put(HISTORY, _TAIL_KEY.pack(shard, user, bucket, _TAIL, generation), data)
        self.put_index(batch, shard=shard, state=OPEN, user=user, bucket=bucket)

    def put_frozen(self, batch: Batch, *, shard: int, user: int, bucket: int, blob: bytes) -> None:
        """Store a frozen bucket, in the place of an older one."""
        batch.put(HISTORY, _FROZEN_KEY.pack(shard, user, bucket, _FROZEN), blob)
        self.put_index(batch, shard=shard, state=CLOSED, user=user, bucket=bucket)

    def delete_parts(self, batch: Batch, parts: Sequence[Part]) -> None:
        """Delete parts of one bucket, in key order. Many at once as a range: a batch has a limit of entries.

        A range takes what lies between them, too, so the parts must be all there were when they were read.
        """
        if len(parts) > POINT_DELETES_MAX:
            batch.delete_range(HISTORY, parts[0].key, parts[-1].key)
            parts = parts[-1:]
        for part in parts:
            batch.delete(HISTORY, part.key)

    def put_index(self, batch: Batch, *, shard: int, state: int, user: int, bucket: int) -> None:
        """Put a bucket on one of the lists."""
        batch.put(BUCKETS, _INDEX_KEY.pack(shard, state, bucket, user), b"")

    def delete_index(self, batch: Batch, *, shard: int, state: int, user: int, bucket: int) -> None:
        """Take a bucket off one of the lists."""
        batch.delete(BUCKETS, _INDEX_KEY.pack(shard, state, bucket, user))

    def spill_lane(self, batch: Batch, number: int, *, generation: int) -> None:
        """The lane's rows are in tails: drop its redo log, and begin the next generation."""
        shard, lane = divmod(number, LANES)
        batch.delete_range(REDO, _REDO_KEY.pack(shard, lane, 0), _REDO_KEY.pack(shard, lane, (1 << 64) - 1))
        batch.put(META, _META_LANE.pack(shard, _GENERATION, lane), _U64.pack(generation + 1))

    def put_redo(self, batch: Batch, number: int, *, sequence: int, groups: Iterable[bytes]) -> None:
        """Store what one batch added to a lane; `groups` made by `redo_group`."""
        batch.put(REDO, _REDO_KEY.pack(*divmod(number, LANES), sequence), b"".join(groups))

    def redo(self) -> Iterator[tuple[int, int, list[Group]]]:
        """(lane number, sequence, groups) of the whole redo log, in order within each lane."""
        for key, value in self._store.scan(REDO):
            shard, lane, sequence = _REDO_KEY.unpack(key)
            yield shard * LANES + lane, sequence, _groups(value)

    def generations(self) -> dict[int, int]:
        """Generation by lane number, of lanes that were ever spilled."""
        found = {}
        for key, value in self._store.scan(META):
            if len(key) == _META_LANE.size and key[2] == _GENERATION:
                shard, _, lane = _META_LANE.unpack(key)
                (found[shard * LANES + lane],) = _U64.unpack(value)
        return found

    def forget(self, batch: Batch, user: int) -> None:
        """Delete the user's history; what the index has of it is queued for `erase`."""
        shard = self._owned.shard_of(user)
        buckets = sorted({part.bucket for part in self.history_back(user, from_bucket=0)})
        start = _FROZEN_KEY.pack(shard, user, 0, _FROZEN)
        batch.delete_range(HISTORY, start, _FROZEN_KEY.pack(shard, user, BUCKET_MAX, 0xFF))
        if buckets:
            key = _META_USER.pack(shard, _ERASE, user)
            known = self._store.get(META, key) or b""
            batch.put(META, key, known + struct.pack(f">{len(buckets)}I", *buckets))

    def erase(self, batch: Batch, shard: int, *, limit: int) -> int:
        """Take forgotten users off the lists, at most `limit` of them; returns how many."""
        start, end = _META_USER.pack(shard, _ERASE, 0), _META_USER.pack(shard, _ERASE + 1, 0)
        count = 0
        for key, value in islice(self._store.scan(META, start=start, end=end), limit):
            user = _META_USER.unpack(key)[2]
            # A bucket that the user has rows in again stays on its list.
            again = {part.bucket for part in self.history_back(user, from_bucket=0)}
            for (bucket,) in struct.iter_unpack(">I", value):
                if bucket not in again:
                    for state in (OPEN, CLOSED):
                        self.delete_index(batch, shard=shard, state=state, user=user, bucket=bucket)
            batch.delete(META, key)
            count += 1
        return count

    def shards_to_erase(self) -> set[int]:
        """Shards with forgotten users on the lists."""
        return {
            _META_USER.unpack(key)[0]
            for key, _ in self._store.scan(META)
            if len(key) == _META_USER.size and key[2] == _ERASE
        }

    def clock_s(self) -> int:
        """The greatest record time that was stored; 0 at first."""
        value = self._store.get(SYSTEM, _CLOCK_KEY)
        return _U64.unpack(value)[0] if value else 0

    def put_clock(self, batch: Batch, clock_s: int) -> None:
        """Store the greatest record time."""
        batch.put(SYSTEM, _CLOCK_KEY, _U64.pack(clock_s))

    def _check_layout(self) -> None:
        """Buckets are numbered by their length: another one would make every stored number wrong."""
        known = self._store.get(SYSTEM, _LAYOUT_KEY)
        mine = _U64.pack(self.bucket_s)
        if known is None:
            batch = self._store.batch()
            batch.put(SYSTEM, _LAYOUT_KEY, mine)
            self._store.write(batch)
        elif known != mine:
            hours = _U64.unpack(known)[0] / 3600
            raise ConfigFaults(
                [f"bucket_hours = {self.bucket_s / 3600:g}: the store's buckets have {hours:g} hours"]
            )


def rows_of(parts: Sequence[Part]) -> Rows:
    """Return all rows of the parts: of frozen buckets first, in the order of the parts, then of tails.

    Raises:
        CorruptValue: a part is damaged.
    """
    frozen_rows = frozen.decode([part.value for part in parts if part.generation is None])
    tails = [part.value for part in parts if part.generation is not None]
    if any(len(tail) % ROW_BYTES for tail in tails):
        raise CorruptValue("a tail does not end with a whole row: restore a checkpoint")
    return concat([frozen_rows, unpack_rows(b"".join(tails))]) if tails else frozen_rows


def redo_group(user: int, bucket: int, data: bytes | None) -> bytes:
    """Return a group of the redo log; `data` None: the user is forgotten."""
    if data is None:
        return _GROUP.pack(user, bucket, FORGET_BYTES)
    return _GROUP.pack(user, bucket, len(data)) + data


def _groups(value: bytes) -> list[Group]:
    groups, offset = [], 0
    while offset < len(value):
        if offset + _GROUP.size > len(value):
            raise CorruptValue("a redo entry ends inside of a group: restore a checkpoint")
        user, bucket, size = _GROUP.unpack_from(value, offset)
        offset += _GROUP.size
        if size == FORGET_BYTES:
            groups.append(Group(user, bucket, None))
            continue
        if offset + size > len(value):
            raise CorruptValue("a redo entry is shorter than it says: restore a checkpoint")
        groups.append(Group(user, bucket, value[offset : offset + size]))
        offset += size
    return groups


def _part(key: bytes, value: bytes) -> Part:
    if len(key) == _FROZEN_KEY.size:
        return Part(_FROZEN_KEY.unpack(key)[2], None, key, value)
    _, _, bucket, _, generation = _TAIL_KEY.unpack(key)
    return Part(bucket, generation, key, value)
