"""The session cursor: what keeps pages from repeating and from drifting.

Owns the cursor's bytes. A cursor carries the session: when it began (later pins wait for the next session,
and light scores are computed for that moment, so the order does not drift), 32-bit hashes of the pins that it
served (so nothing repeats even while impressions are slow or Aperture is away), and how many items it has
shown, by which slots count their places. It is bounded: past `SERVED_MAX` the oldest hashes are dropped,
which Aperture has known for long. A hash of a pin that was not served collides with one of 2,000 at odds of
1 in 2 million: such a pin waits for the next session.

Layout, little-endian:
version u8 | 0 u8 | page u16 | feed u32 | shown u32 | user u64 | session_ms u64 | served u32... | crc32 u32
Version 1, which sessions may still carry: version u8 | feed u8 | page u16 | user u64 | session_ms u64 | ...
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import InvalidCursor
from services.chassis.ids import mix64_array

VERSION: Final = 2
SERVED_MAX: Final = 2_000
PAGE_MAX: Final = 65_535
SHOWN_MAX: Final = 2**32 - 1
_HEAD: Final = struct.Struct("<BxHIIQQ")
_HEAD_1: Final = struct.Struct("<BBHQQ")
_CHECK: Final = struct.Struct("<I")
BYTES_MAX: Final = _HEAD.size + 4 * SERVED_MAX + _CHECK.size
_FEED_1: Final = {1: "following"}
"""The feeds of version 1, which had numbers."""


def served_hashes(pins: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The high half of each pin's mix64: uint32 of the same shape."""
    return (mix64_array(pins) >> np.uint64(32)).astype(np.uint32)


@dataclass(frozen=True)
class Cursor:
    """A session of one user in one feed."""

    user: int
    feed: str
    """Name of the recipe."""
    session_ms: int
    page: int = 0
    """Pages served so far."""
    shown_count: int = 0
    """Items shown so far, inserted ones included."""
    served: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Hashes of the pins served so far, in order, the latest last."""

    def encode(self) -> bytes:
        """The cursor's bytes, at most `BYTES_MAX`."""
        head = (VERSION, self.page, _feed_hash(self.feed), self.shown_count, self.user, self.session_ms)
        body = _HEAD.pack(*head) + self.served.astype("<u4").tobytes()
        return body + _CHECK.pack(zlib.crc32(body))

    @classmethod
    def decode(cls, data: bytes, *, user: int, feed: str) -> Self:
        """Read a cursor that was made for this user and feed.

        Raises:
            InvalidCursor: not made by this service, damaged, or of another user or feed.
        """
        if not _HEAD_1.size + _CHECK.size <= len(data) <= BYTES_MAX or (len(data) - _HEAD_1.size) % 4:
            raise InvalidCursor(
                f"the cursor has {len(data)} bytes and is not one of ours; "
                "send the last answer's cursor unchanged, or none for a new session"
            )
        body, check = data[: -_CHECK.size], data[-_CHECK.size :]
        if _CHECK.unpack(check)[0] != zlib.crc32(body):
            raise InvalidCursor(
                "the cursor is damaged; send the last answer's cursor unchanged, or none for a new session"
            )
        if body[0] == VERSION and len(body) >= _HEAD.size:
            _, page, feed_hash, shown_count, cursor_user, session_ms = _HEAD.unpack_from(body)
            served = np.frombuffer(body, "<u4", offset=_HEAD.size)
        elif body[0] == 1:
            _, number, page, cursor_user, session_ms = _HEAD_1.unpack_from(body)
            served = np.frombuffer(body, "<u4", offset=_HEAD_1.size)
            feed_hash, shown_count = _feed_hash(_FEED_1.get(number, "")), len(served)
        else:
            raise InvalidCursor(
                f"the cursor has version {body[0]}, this server reads 1 and {VERSION}; begin a new session"
            )
        if cursor_user != user or feed_hash != _feed_hash(feed):
            raise InvalidCursor("the cursor belongs to another user or feed; begin a new session without one")
        return cls(user, feed, session_ms, page, shown_count, served.astype(np.uint32, copy=False))

    def marks_served(self, pins: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the pins this session has served."""
        if not len(self.served):
            return np.zeros(len(pins), np.bool_)
        return np.isin(served_hashes(pins), self.served)

    def after(self, pins: NDArray[np.uint64], *, shown_count: int | None = None) -> Self:
        """The cursor after a page with these pins; `shown_count`: its items, when some are no pins."""
        served = np.concatenate([self.served, served_hashes(pins)])[-SERVED_MAX:]
        shown = self.shown_count + (len(pins) if shown_count is None else shown_count)
        page = min(self.page + 1, PAGE_MAX)
        return replace(self, page=page, shown_count=min(shown, SHOWN_MAX), served=served)


def _feed_hash(feed: str) -> int:
    return zlib.crc32(feed.encode())
