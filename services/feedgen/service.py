"""The gRPC adapter: request → checked `Ask` → pipeline → response, then the side effects.

Owns the time that a request has, and what follows its answer. Next: `requests.py`, `pipeline.py`,
`responses.py`.
"""

from __future__ import annotations

import time

from feedmesh.feedgen.v1 import feedgen_pb2, feedgen_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.rpc.context import current as current_call
from services.chassis.rpc.context import record_spans
from services.feedgen.config import FeedgenConfig
from services.feedgen.impressions import ImpressionPublisher
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.page import Ask, Page
from services.feedgen.pipeline import Feed
from services.feedgen.recipes.book import RecipeBook
from services.feedgen.requests import RequestReader
from services.feedgen.responses import explanation_of, response_of
from services.feedgen.run import Run
from services.feedgen.served_log import ServedLog


class FeedGeneratorService(feedgen_pb2_grpc.FeedGeneratorServiceServicer):
    """Serves feedmesh.feedgen.v1.FeedGeneratorService on an asyncio server."""

    def __init__(
        self,
        *,
        config: FeedgenConfig,
        feed: Feed,
        recipes: RecipeBook,
        impressions: ImpressionPublisher,
        served_log: ServedLog,
        metrics: FeedgenMetrics,
        clock: Clock,
    ) -> None:
        self._longest_s = config.budget.request_ms_max / 1000
        self._requests = RequestReader(config, recipes, clock, waiting=impressions.waiting)
        self._feed = feed
        self._impressions = impressions
        self._served_log = served_log
        self._metrics = metrics
        self._clock = clock

    async def GetFeed(
        self, request: feedgen_pb2.GetFeedRequest, context: object
    ) -> feedgen_pb2.GetFeedResponse:
        """One page; see the proto for the contract."""
        request_id = _request_id()
        # Not of a dry run: its pages are not served to anybody.
        log_id = 0 if request.dry_run else self._served_log.log_id(request_id)
        ask = self._requests.read(request, log_id=log_id)
        run = self._run()
        began = time.perf_counter()
        spans = record_spans() if request.explain else []
        page = await self._feed.page(ask, run)
        if not request.dry_run and len(page.pins):
            self._note_served(ask, page, request_id)
        self._observe(ask, page, run)
        response = response_of(ask, page, run, request_id=request_id)
        if request.explain:
            response.explain.CopyFrom(explanation_of(run, spans, began))
        return response

    def _note_served(self, ask: Ask, page: Page, request_id: str) -> None:
        """Queue what follows the answer; each queue's own task does it, and the answer never waits."""
        now_ms = self._clock.now_ms()
        boards = dict(zip(page.items.pins.tolist(), page.items.boards.tolist(), strict=True))
        boards.update({placed.insertion.pin: placed.insertion.board for placed in page.inserted})
        pins = page.pins.tolist()
        self._impressions.add(user=ask.user, pins=pins, boards=[boards[pin] for pin in pins], time_ms=now_ms)
        if ask.log_id:
            self._served_log.add(ask, page, request_id=request_id, served_ms=now_ms)

    def _run(self) -> Run:
        now = self._clock.monotonic()
        call = current_call()
        left_s = call.seconds_left() if call else None
        # Not `left_s or …`: a caller whose time is up has 0 left, not all of it.
        longest_s = self._longest_s if left_s is None else min(self._longest_s, left_s)
        return Run(self._clock, ends_at=now + longest_s)

    def _observe(self, ask: Ask, page: Page, run: Run) -> None:
        metrics = self._metrics
        for report in run.reports:
            metrics.stage_seconds.labels(report.stage).observe(report.elapsed_us / 1e6)
            metrics.stages.labels(report.stage, report.status).inc()
        metrics.pages.labels(page.source.name.lower(), str(run.complete).lower()).inc()
        metrics.feed_pages.labels(ask.recipe.name).inc()
        metrics.items.inc(len(page.places) + len(page.inserted))
        for experiment, arm in ask.arms:
            metrics.arm_pages.labels(experiment, arm).inc()


def _request_id() -> str:
    call = current_call()
    return call.request_id if call else ""
