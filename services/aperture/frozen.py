"""Owns a frozen bucket: all rows of one user in one closed bucket, sorted, by columns, checked, immutable.

    header   "FMAF" | version u8 | index bytes u8 | 0 u16 | crc32 u32 of what follows it
             rows u32 | seen u32 | time of the first row u32
    seen     u64 of every entity once, ascending
    times    u32, difference to the row before; rows are sorted by time
    entities u16, or u32 past 65,536 entities: place in `seen`
    actions  u8

A row costs 7 bytes and an entity 8: most pins are seen once or twice a day, so the dictionary pays. General
compression is the storage family's (LZ4, ZSTD at the bottom): differences of times, mostly 0, suit it.
Refuses a wrong checksum, length or version with CorruptValue: a hole in the seen set must not look like
"not seen".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from services.aperture.rows import NO_ROWS, Rows
from services.chassis.errors import CorruptValue

MAGIC = b"FMAF"
VERSION = 1
_HEADER = struct.Struct("<4sBBHIIII")
_CHECKED_FROM = 12
assert _HEADER.size == 24, "the seen column stays aligned to 8 bytes"


def encode(rows: Rows) -> bytes:
    """Return the frozen form of rows in any order."""
    ordered = rows.by_time()
    seen, places = np.unique(ordered.entities, return_inverse=True)
    place_type: Any = np.uint16 if seen.size <= 1 << 16 else np.uint32
    first_s = int(ordered.times[0]) if len(ordered) else 0
    steps = np.diff(ordered.times, prepend=np.uint32(first_s)).astype("<u4")
    columns = b"".join(
        (
            seen.astype("<u8").tobytes(),
            steps.tobytes(),
            places.astype(np.dtype(place_type).newbyteorder("<")).tobytes(),
            ordered.types.tobytes(),
        )
    )
    counts = struct.pack("<III", len(ordered), seen.size, first_s)
    checksum = zlib.crc32(columns, zlib.crc32(counts))
    width = np.dtype(place_type).itemsize
    return MAGIC + struct.pack("<BBHI", VERSION, width, 0, checksum) + counts + columns


def decode(blobs: Sequence[bytes]) -> Rows:
    """Return the rows of frozen buckets, one bucket after the other, each oldest first.

    All at once, because a user of three months has ninety: what numpy costs is the calls.

    Raises:
        CorruptValue: one of them is damaged, or of another version.
    """
    heads = [_checked(blob) for blob in blobs]
    counts = np.array([count for count, _, _, _ in heads], dtype=np.int64)
    if not counts.sum():
        return NO_ROWS
    seens, steps, places, types = [], [], [], []
    for blob, (count, seen_count, _, width) in zip(blobs, heads, strict=True):
        steps_at = _HEADER.size + 8 * seen_count
        places_at = steps_at + 4 * count
        types_at = places_at + width * count
        seens.append(blob[_HEADER.size : steps_at])
        steps.append(blob[steps_at:places_at])
        places.append(np.frombuffer(blob, f"<u{width}", count, places_at))
        types.append(blob[types_at:])
    seen = np.frombuffer(b"".join(seens), "<u8")
    # Each bucket's first step is 0, so the running sum there is what came before it.
    times = np.cumsum(np.frombuffer(b"".join(steps), "<u4"), dtype=np.uint32)
    starts = np.cumsum(counts) - counts
    filled = counts > 0
    firsts = np.array([first_s for _, _, first_s, _ in heads], dtype=np.uint32)
    times += np.repeat(firsts[filled] - times[starts[filled]], counts[filled])
    seen_counts = np.array([seen_count for _, seen_count, _, _ in heads], dtype=np.int64)
    offsets = np.repeat(np.cumsum(seen_counts) - seen_counts, counts)
    return Rows(seen[np.concatenate(places) + offsets], times, np.frombuffer(b"".join(types), np.uint8))


def row_count(blob: bytes) -> int:
    """Return how many rows a frozen bucket says it has; unchecked."""
    return int(_HEADER.unpack_from(blob)[5]) if len(blob) >= _HEADER.size else 0


def _checked(blob: bytes) -> tuple[int, int, int, int]:
    """(rows, entities, time of the first row, bytes of a place) of a bucket whose bytes are as written."""
    if len(blob) < _HEADER.size:
        raise CorruptValue(f"a frozen bucket has {len(blob)} bytes, shorter than its header")
    magic, version, width, zero, checksum, count, seen_count, first_s = _HEADER.unpack_from(blob)
    if (magic, version, zero) != (MAGIC, VERSION, 0) or width not in (2, 4):
        raise CorruptValue(f"a frozen bucket begins with {blob[:6].hex()}: not of version {VERSION}")
    if len(blob) != _HEADER.size + 8 * seen_count + (5 + width) * count:
        raise CorruptValue(f"a frozen bucket of {count} rows has a wrong length: {len(blob)}")
    if zlib.crc32(memoryview(blob)[_CHECKED_FROM:]) != checksum:
        raise CorruptValue("the checksum of a frozen bucket does not match: restore a checkpoint")
    return count, seen_count, first_s, width
