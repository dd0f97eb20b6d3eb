"""Backend impressions: the pins that an answer showed, published after it was sent.

Owns a bounded queue and the one task that empties it, many pages to a Publish: a page waits `gather_ms` for
company, because a Publish costs the log and every follower the same for one page as for ten. Each event has
an id, so a retry after a lost acknowledgement counts once. Until a page is acknowledged, `waiting` knows its
pins, so that a new session begun here meanwhile does not show them again.
What is not guaranteed: pages are lost when the queue is full (counted) or when the process is killed before
they are published; the session's cursor keeps its own pages from repeating either way.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import BadRequest, FeedmeshError
from services.feedgen.config import ImpressionsConfig
from services.feedgen.metrics import FeedgenMetrics

Publish = Callable[[Sequence[event_pb2.Event], float], Awaitable[bytes]]

WAITING_PINS_MAX: Final = 2_000
"""Pins of one user that `waiting` answers, the latest: the log may be away for long."""

_log = structlog.get_logger(__name__)


class ImpressionPublisher:
    """Used on one event loop; no locks."""

    def __init__(self, publish: Publish, config: ImpressionsConfig, metrics: FeedgenMetrics) -> None:
        self._publish = publish
        self._config = config
        self._metrics = metrics
        self._queue: deque[event_pb2.Event] = deque()
        self._arrived = asyncio.Event()
        # A batch's worth waits, or the process stops: no page waits for company any more.
        self._hurry = asyncio.Event()
        self._waiting: dict[int, list[event_pb2.Event]] = {}
        self._stopping = False
        self._on_its_way = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to publish; needs a running event loop."""
        self._task = asyncio.create_task(self._run())

    def add(self, *, user: int, pins: Sequence[int], boards: Sequence[int], time_ms: int) -> None:
        """Queue one page. Never blocks; drops and counts it when the queue is full."""
        if len(self._queue) >= self._config.queue_max:
            self._metrics.impressions_dropped.inc()
            return
        page = event_pb2.Event(
            id=f"served-{os.urandom(12).hex()}",
            time_ms=time_ms,
            impressions=event_pb2.Impressions(
                user=user, pins=pins, boards=boards, type=type_pb2.ACTION_TYPE_SERVED
            ),
        )
        self._queue.append(page)
        self._waiting.setdefault(user, []).append(page)
        self._metrics.impressions_queued.set(len(self._queue))
        self._arrived.set()
        if len(self._queue) >= self._config.batch_max:
            self._hurry.set()

    def waiting(self, user: int) -> list[int]:
        """Pins that were shown here and are not acknowledged yet, at most the last 2,000."""
        pages = self._waiting.get(user)
        if pages is None:
            return []
        return [pin for page in pages for pin in page.impressions.pins][-WAITING_PINS_MAX:]

    async def stop(self) -> None:
        """Publish what waits, as long as `drain_ms` allows, then end."""
        self._stopping = True
        self._arrived.set()
        self._hurry.set()
        if self._task is None:
            return
        try:
            await asyncio.wait_for(self._task, self._config.drain_ms / 1000)
        except TimeoutError:
            # The batch on its way too: nobody knows any more whether it arrived.
            page_count = len(self._queue) + self._on_its_way
            self._metrics.impressions_dropped.inc(page_count)
            _log.warning("impressions dropped at the end", page_count=page_count)

    async def _run(self) -> None:
        while self._queue or not self._stopping:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._gather()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._config.batch_max))]
            self._metrics.impressions_queued.set(len(self._queue))
            self._on_its_way = len(batch)
            await self._publish_batch(batch)
            self._on_its_way = 0
            for page in batch:
                self._settle(page)

    async def _gather(self) -> None:
        """Give other pages `gather_ms` to join those that wait."""
        if not self._stopping and len(self._queue) < self._config.batch_max:
            self._hurry.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._config.gather_ms / 1000)

    def _settle(self, page: event_pb2.Event) -> None:
        """The page is acknowledged, or given up: it does not wait any more."""
        user = page.impressions.user
        left = [other for other in self._waiting[user] if other is not page]
        if left:
            self._waiting[user] = left
        else:
            del self._waiting[user]

    async def _publish_batch(self, batch: Sequence[event_pb2.Event]) -> None:
        """Publish until it is acknowledged; the ids make a retry count once."""
        pause_s = 0.05
        while True:
            try:
                await self._publish(batch, self._config.timeout_ms / 1000)
            except BadRequest as fault:
                # Our own fault, and no retry mends it; dropping keeps the pages behind it moving.
                _log.error("impressions refused", reason=str(fault), page_count=len(batch))
                self._metrics.impressions_dropped.inc(len(batch))
                return
            except FeedmeshError as fault:
                self._metrics.impressions_retries.inc()
                _log.debug("impressions not published yet", reason=str(fault))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._config.retry_ms_max / 1000)
            else:
                self._metrics.impressions_published.inc(len(batch))
                return
