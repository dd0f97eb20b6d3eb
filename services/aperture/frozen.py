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


def decode(blob: bytes) -> Rows:
    """Return the rows, oldest first.

    Raises:
        CorruptValue: the bytes are damaged, or of another version.
    """
    if len(blob) < _HEADER.size:
        raise CorruptValue(f"a frozen bucket has {len(blob)} bytes, shorter than its header")
    magic, version, width, zero, checksum, count, seen_count, first_s = _HEADER.unpack_from(blob)
    if (magic, version, zero) != (MAGIC, VERSION, 0) or width not in (2, 4):
        raise CorruptValue(f"a frozen bucket begins with {blob[:6].hex()}: not of version {VERSION}")
    if len(blob) != _HEADER.size + 8 * seen_count + (5 + width) * count:
        raise CorruptValue(f"a frozen bucket of {count} rows has a wrong length: {len(blob)}")
    if zlib.crc32(memoryview(blob)[_CHECKED_FROM:]) != checksum:
        raise CorruptValue("the checksum of a frozen bucket does not match: restore a checkpoint")
    if not count:
        return NO_ROWS
    offset = _HEADER.size
    seen = np.frombuffer(blob, "<u8", seen_count, offset)
    offset += 8 * seen_count
    steps = np.frombuffer(blob, "<u4", count, offset)
    offset += 4 * count
    places = np.frombuffer(blob, f"<u{width}", count, offset)
    types = np.frombuffer(blob, np.uint8, count, offset + width * count)
    times = np.cumsum(steps, dtype=np.uint32)
    times += np.uint32(first_s)
    return Rows(seen[places], times, types)
