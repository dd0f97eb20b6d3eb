"""The session cursor: what keeps pages from repeating and from drifting.

Owns the cursor's bytes. A cursor carries the session: when it began (later pins wait for the next session,
and light scores are computed for that moment, so the order does not drift) and 32-bit hashes of the pins
that it served (so nothing repeats even while impressions are slow or Aperture is away). It is bounded: past
`SERVED_MAX` the oldest are dropped, which Aperture has known for long. A hash of a pin that was not served
collides with one of 2,000 at odds of 1 in 2 million: such a pin waits for the next session.

Layout, little-endian: version u8 | feed u8 | page u16 | user u64 | session_ms u64 | served u32... | crc32 u32
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

VERSION: Final = 1
SERVED_MAX: Final = 2_000
PAGE_MAX: Final = 65_535
_HEAD: Final = struct.Struct("<BBHQQ")
_CHECK: Final = struct.Struct("<I")
BYTES_MAX: Final = _HEAD.size + 4 * SERVED_MAX + _CHECK.size


def served_hashes(pins: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The high half of each pin's mix64: uint32 of the same shape."""
    return (mix64_array(pins) >> np.uint64(32)).astype(np.uint32)


@dataclass(frozen=True)
class Cursor:
    """A session of one user in one feed."""

    user: int
    feed: int
    session_ms: int
    page: int = 0
    """Pages served so far."""
    served: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Hashes of the pins served so far, in order, the latest last."""

    def encode(self) -> bytes:
        """The cursor's bytes, at most `BYTES_MAX`."""
        body = _HEAD.pack(VERSION, self.feed, self.page, self.user, self.session_ms)
        body += self.served.astype("<u4").tobytes()
        return body + _CHECK.pack(zlib.crc32(body))

    @classmethod
    def decode(cls, data: bytes, *, user: int, feed: int) -> Self:
        """Read a cursor that was made for this user and feed.

        Raises:
            InvalidCursor: not made by this service, damaged, or of another user or feed.
        """
        if not _HEAD.size + _CHECK.size <= len(data) <= BYTES_MAX or (len(data) - _HEAD.size) % 4:
            raise InvalidCursor(
                f"the cursor has {len(data)} bytes and is not one of ours; "
                "send the last answer's cursor unchanged, or none for a new session"
            )
        body, check = data[: -_CHECK.size], data[-_CHECK.size :]
        if _CHECK.unpack(check)[0] != zlib.crc32(body):
            raise InvalidCursor(
                "the cursor is damaged; send the last answer's cursor unchanged, or none for a new session"
            )
        version, cursor_feed, page, cursor_user, session_ms = _HEAD.unpack_from(body)
        if version != VERSION:
            raise InvalidCursor(
                f"the cursor has version {version}, this server reads {VERSION}; begin a new session"
            )
        if cursor_user != user or cursor_feed != feed:
            raise InvalidCursor("the cursor belongs to another user or feed; begin a new session without one")
        served = np.frombuffer(body, "<u4", offset=_HEAD.size).astype(np.uint32, copy=False)
        return cls(user=user, feed=feed, session_ms=session_ms, page=page, served=served)

    def marks_served(self, pins: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the pins this session has served."""
        return np.isin(served_hashes(pins), self.served)

    def after(self, pins: NDArray[np.uint64]) -> Self:
        """The cursor after a page with these pins."""
        served = np.concatenate([self.served, served_hashes(pins)])[-SERVED_MAX:]
        return replace(self, page=min(self.page + 1, PAGE_MAX), served=served)
