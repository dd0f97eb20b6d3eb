"""The feature log's side of a page: which requests are sampled, and telling Scorpion what was served of them.

Owns the draw, by a hash of the request id, and a bounded queue with the one task that empties it after the
answers. A page is told once: LogServed is not idempotent, and a sample that lacks a page is still a sample.
Not guaranteed: that a page arrives; it is dropped when the queue is full, and lost when Scorpion does not
answer, does not have it any more, or the process ends. All of that is counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import Awaitable
from typing import Protocol

import numpy as np
import structlog

from services.chassis.errors import FeedmeshError
from services.feedgen.answers import LoggedCounts, ServedPage
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.page import Ask, Page

_log = structlog.get_logger(__name__)


class LogServed(Protocol):
    """How Scorpion is told; `answers.Mesh.log_served`."""

    def __call__(self, page: ServedPage, *, timeout_s: float) -> Awaitable[LoggedCounts]:
        """Tell it."""
        ...


class ServedLog:
    """Used on one event loop; no locks."""

    def __init__(
        self,
        log_served: LogServed,
        *,
        share: float,
        queue_max: int,
        timeout_s: float,
        metrics: FeedgenMetrics,
    ) -> None:
        self._log_served = log_served
        self._threshold = int(share * 2**64)
        self._queue_max = queue_max
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._queue: deque[ServedPage] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell; needs a running event loop."""
        self._task = asyncio.create_task(self._run())

    def log_id(self, request_id: str) -> int:
        """A number for this request when it is sampled, else 0. The same requests are drawn everywhere."""
        if not self._threshold:
            return 0
        digest = hashlib.blake2b(request_id.encode(), digest_size=8, person=b"feature_log").digest()
        if int.from_bytes(digest, "little") >= self._threshold:
            return 0
        # Not the hash: a caller may send one request id twice, and two pages must not share a number.
        return random.getrandbits(64) or 1

    def add(self, ask: Ask, page: Page, *, request_id: str, served_ms: int) -> None:
        """Queue what the model scored of a sampled page. Never blocks; drops and counts when full."""
        rows = np.flatnonzero(page.scored)
        if not rows.size:
            return
        if len(self._queue) >= self._queue_max:
            self._metrics.feature_log_rows.labels("dropped").inc(rows.size)
            return
        self._queue.append(
            ServedPage(
                log_id=ask.log_id,
                user=ask.user,
                pins=page.items.pins[rows],
                positions=np.array(page.places, np.uint16)[rows],
                feed=ask.recipe.name,
                request_id=request_id,
                served_ms=served_ms,
                arms=[f"{experiment}={arm}" for experiment, arm in ask.arms],
            )
        )
        self._arrived.set()

    async def stop(self) -> None:
        """End; what waits is dropped and counted. A sample is not worth a slower stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for page in self._queue:
            self._metrics.feature_log_rows.labels("dropped").inc(len(page.pins))
        self._queue.clear()

    async def _run(self) -> None:
        while True:
            while self._queue:
                await self._tell(self._queue.popleft())
            self._arrived.clear()
            await self._arrived.wait()

    async def _tell(self, page: ServedPage) -> None:
        rows, count = self._metrics.feature_log_rows, len(page.pins)
        try:
            counts = await self._log_served(page, timeout_s=self._timeout_s)
        except asyncio.CancelledError:
            rows.labels("failed").inc(count)
            raise
        except FeedmeshError as fault:
            _log.debug("served pins not logged", reason=str(fault), pin_count=count)
            rows.labels("failed").inc(count)
        except Exception:  # noqa: BLE001  a task that ended would end the log without a word
            _log.exception("served pins not logged", pin_count=count)
            rows.labels("failed").inc(count)
        else:
            rows.labels("logged").inc(counts.logged)
            rows.labels("absent").inc(counts.absent)
            rows.labels("failed").inc(counts.failed)
