"""Chunks on their way from the thread that reads them to the one that polls.

The reader puts and looks at `size_bytes` to hold itself back; the follower takes all there is at once.
A fault is raised when everything that came before it was taken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from services.chassis.errors import FeedmeshError, LogUnavailable
from services.chassis.log.log import Chunk


class TailBuffer:
    """Unbounded in itself: whoever puts must watch `size_bytes`."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._chunks: list[Chunk] = []
        self._fault: FeedmeshError | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, chunks: Sequence[Chunk], *, size_bytes: int) -> None:
        """Add chunks that follow those before."""
        with self._changed:
            self._chunks.extend(chunks)
            self.size_bytes += size_bytes
            self._changed.notify_all()

    def fail(self, fault: FeedmeshError) -> None:
        """Nothing more will come, because of this."""
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def close(self) -> None:
        """A blocked `take` raises, and every later one. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, *, timeout_ms: int) -> list[Chunk]:
        """All that is there; [] when nothing came in time. Raises LogUnavailable, or what `fail` got."""
        deadline = time.monotonic() + timeout_ms / 1000
        with self._changed:
            while not self._chunks:
                if self._closed:
                    raise LogUnavailable("the tail is closed")
                if self._fault is not None:
                    raise self._fault
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                self._changed.wait(left)
            chunks, self._chunks, self.size_bytes = self._chunks, [], 0
            return chunks
