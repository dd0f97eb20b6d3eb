"""The gRPC adapter: request → checked `Ask` → pipeline → response, then the side effect.

Owns the checks at the door and the shape of the answer. Next: `pipeline.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from feedmesh.feedgen.v1 import feedgen_pb2, feedgen_pb2_grpc
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import Clock
from services.chassis.errors import BadRequest, InvalidCursor, InvalidId, LimitExceeded, UnknownEnum
from services.chassis.rpc.context import Span, record_spans
from services.chassis.rpc.context import current as current_call
from services.feedgen.config import FeedgenConfig
from services.feedgen.cursor import Cursor
from services.feedgen.display import DISPLAY_PARTS, display_of
from services.feedgen.explanations import explain_items
from services.feedgen.impressions import ImpressionPublisher
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.page import Ask, Page, Ranking, Source
from services.feedgen.pipeline import FollowingFeed
from services.feedgen.run import COMPLETE, MISSED, PARTIAL, SKIPPED, Run
from services.feedgen.served_log import ServedLog

_RANKINGS: Final = {
    feedgen_pb2.RANKING_UNSPECIFIED: Ranking.MODEL,
    feedgen_pb2.RANKING_MODEL: Ranking.MODEL,
    feedgen_pb2.RANKING_LIGHT_SCORE: Ranking.LIGHT_SCORE,
    feedgen_pb2.RANKING_NEWEST: Ranking.NEWEST,
}
_SOURCES: Final = {
    Source.RECIPE: feedgen_pb2.FEED_SOURCE_RECIPE,
    Source.POPULAR_COLD_START: feedgen_pb2.FEED_SOURCE_POPULAR_COLD_START,
    Source.POPULAR_FALLBACK: feedgen_pb2.FEED_SOURCE_POPULAR_FALLBACK,
    Source.LAST_KNOWN: feedgen_pb2.FEED_SOURCE_LAST_KNOWN,
}
_STATUSES: Final = {
    COMPLETE: feedgen_pb2.STAGE_STATUS_COMPLETE,
    PARTIAL: feedgen_pb2.STAGE_STATUS_PARTIAL,
    MISSED: feedgen_pb2.STAGE_STATUS_MISSED,
    SKIPPED: feedgen_pb2.STAGE_STATUS_SKIPPED,
}
_CLOCKS_APART_MS: Final = 300_000
"""How far the clocks of two FeedGenerators may be apart, as Ingest allows it of events."""
_FOLLOWING: Final = (feedgen_pb2.FEED_TYPE_UNSPECIFIED, feedgen_pb2.FEED_TYPE_FOLLOWING)


class FeedGeneratorService(feedgen_pb2_grpc.FeedGeneratorServiceServicer):
    """Serves feedmesh.feedgen.v1.FeedGeneratorService on an asyncio server."""

    def __init__(
        self,
        *,
        config: FeedgenConfig,
        feed: FollowingFeed,
        impressions: ImpressionPublisher,
        served_log: ServedLog,
        metrics: FeedgenMetrics,
        clock: Clock,
    ) -> None:
        self._config = config
        self._feed = feed
        self._impressions = impressions
        self._served_log = served_log
        self._metrics = metrics
        self._clock = clock

    async def GetFeed(
        self, request: feedgen_pb2.GetFeedRequest, context: object
    ) -> feedgen_pb2.GetFeedResponse:
        """One page; see the proto for the contract."""
        ask = self._checked(request)
        run = self._run()
        began = time.perf_counter()
        spans = record_spans() if request.explain else []
        page = await self._feed.page(ask, run)
        if not request.dry_run and len(page.items):
            self._note_served(ask, page)
        self._observe(run, page)
        response = self._answer(ask, page, run)
        if request.explain:
            response.explain.CopyFrom(_explanation(run, spans, began))
        return response

    def _note_served(self, ask: Ask, page: Page) -> None:
        """Queue what follows the answer; each queue's own task does it, and the answer never waits."""
        now_ms = self._clock.now_ms()
        self._impressions.add(
            user=ask.user,
            pins=page.items.pins.tolist(),
            boards=page.items.boards.tolist(),
            time_ms=now_ms,
        )
        if ask.log_id:
            self._served_log.add(ask, page, request_id=_request_id(), served_ms=now_ms)

    def _run(self) -> Run:
        now = self._clock.monotonic()
        call = current_call()
        left_s = call.seconds_left() if call else None
        longest_s = self._config.budget.request_ms_max / 1000
        # Not `left_s or …`: a caller whose time is up has 0 left, not all of it.
        return Run(self._clock, ends_at=now + (longest_s if left_s is None else min(longest_s, left_s)))

    def _checked(self, request: feedgen_pb2.GetFeedRequest) -> Ask:
        """The request as the pipeline wants it.

        Raises:
            BadRequest: with the field, what is wrong, and what to do.
        """
        if not request.user:
            raise InvalidId("user is 0; give the id of the user whose feed is wanted")
        if request.type not in _FOLLOWING:
            raise UnknownEnum(f"type {request.type} is not a feed of this version; use FEED_TYPE_FOLLOWING")
        if request.ranking not in _RANKINGS:
            raise UnknownEnum(f"ranking {request.ranking} is unknown; use MODEL, LIGHT_SCORE or NEWEST")
        page_size = request.page_size or self._config.page_size_default
        if page_size > self._config.page_size_max:
            raise LimitExceeded(
                f"page_size is {page_size}, at most {self._config.page_size_max}; ask for more pages instead"
            )
        if len(request.seen_pins) > self._config.seen_pins_max:
            raise LimitExceeded(
                f"seen_pins has {len(request.seen_pins)} ids, at most {self._config.seen_pins_max}; "
                "send the latest and publish the rest as impressions"
            )
        if 0 in request.seen_pins:
            raise InvalidId("seen_pins has the id 0, which is no pin's; leave it out")
        return Ask(
            user=request.user,
            page_size=page_size,
            cursor=self._session(request),
            # What was shown here a moment ago, and Aperture cannot know of yet, is as good as told.
            client_seen=np.array([*request.seen_pins, *self._impressions.waiting(request.user)], np.uint64),
            ranking=_RANKINGS[request.ranking],
            model=request.model,
            display=_display_parts(request),
            explain_scores=request.explain_scores,
            # Not of a dry run: its pages are not served to anybody.
            log_id=0 if request.dry_run else self._served_log.log_id(_request_id()),
        )

    def _session(self, request: feedgen_pb2.GetFeedRequest) -> Cursor:
        """The session of the request's cursor, or a new one."""
        feed, now_ms = feedgen_pb2.FEED_TYPE_FOLLOWING, self._clock.now_ms()
        if not request.cursor:
            return Cursor(user=request.user, feed=feed, session_ms=now_ms)
        cursor = Cursor.decode(request.cursor, user=request.user, feed=feed)
        # The checksum guards against accidents, not against a forger: the time goes on to other services,
        # where one out of range would be a fault of ours.
        age_ms = now_ms - cursor.session_ms
        if not -_CLOCKS_APART_MS <= age_ms <= self._config.session_hours_max * 3_600_000:
            raise InvalidCursor(
                f"the cursor's session is of the future, or older than {self._config.session_hours_max} "
                "hours; begin a new session without one"
            )
        return cursor

    def _observe(self, run: Run, page: Page) -> None:
        for report in run.reports:
            self._metrics.stage_seconds.labels(report.stage).observe(report.elapsed_us / 1e6)
            self._metrics.stages.labels(report.stage, report.status).inc()
        self._metrics.pages.labels(page.source.name.lower(), str(run.complete).lower()).inc()
        self._metrics.items.inc(len(page.items))

    def _answer(self, ask: Ask, page: Page, run: Run) -> feedgen_pb2.GetFeedResponse:
        items = _items(ask, page)
        explain_items(items, page.explained)
        return feedgen_pb2.GetFeedResponse(
            items=items,
            cursor=ask.cursor.after(page.items.pins).encode() if page.more else b"",
            stages=[
                feedgen_pb2.StageReport(
                    stage=report.stage,
                    status=_STATUSES[report.status],
                    detail=report.detail,
                    elapsed_us=report.elapsed_us,
                    stale_ms=report.stale_ms,
                )
                for report in run.reports
            ],
            complete=run.complete,
            stale_ms=run.stale_ms,
            source=_SOURCES[page.source],
            model=page.model,
            request_id=_request_id(),
            session_ms=ask.cursor.session_ms,
        )


def _request_id() -> str:
    call = current_call()
    return call.request_id if call else ""


def _explanation(run: Run, spans: Sequence[Span], began: float) -> feedgen_pb2.Explain:
    return feedgen_pb2.Explain(
        funnel=[
            feedgen_pb2.FunnelStep(stage=stage, reason=reason, count=count)
            for stage, reason, count in run.funnel
        ],
        calls=[
            feedgen_pb2.CallSpan(
                call=span.path,
                host=span.address,
                start_us=int((span.started - began) * 1e6),
                elapsed_us=int(span.elapsed * 1e6),
                status=span.code,
            )
            for span in sorted(spans, key=lambda span: span.started)
        ],
    )


def _display_parts(request: feedgen_pb2.GetFeedRequest) -> frozenset[str]:
    parts = frozenset(request.display_mask.paths)
    if "*" in parts:
        return DISPLAY_PARTS
    unknown = sorted(parts - DISPLAY_PARTS)
    if unknown:
        raise BadRequest(
            f"display_mask has {', '.join(unknown)}; it may have {', '.join(sorted(DISPLAY_PARTS))}, or *"
        )
    return parts


def _items(ask: Ask, page: Page) -> list[feedgen_pb2.Item]:
    columns = page.items
    items = []
    for pin, board, owner, score, light, saved_at, via in zip(
        columns.pins.tolist(),
        columns.boards.tolist(),
        columns.owners.tolist(),
        page.scores.tolist(),
        columns.light.tolist(),
        columns.saved_at.tolist(),
        columns.via.tolist(),
        strict=True,
    ):
        item = feedgen_pb2.Item(
            pin=pin,
            board=board,
            owner=owner,
            score=score,
            light_score=light,
            saved_ms=saved_at * 1000,
            reason=_reason(page, via, ask),
        )
        if ask.display:
            item.display.CopyFrom(
                display_of(page.objects.found, ask.display, pin=pin, board=board, owner=owner)
            )
        items.append(item)
    return items


def _reason(page: Page, via: int, ask: Ask) -> str:
    if page.source is Source.POPULAR_COLD_START:
        return "popular now, until you follow something"
    if page.source is Source.POPULAR_FALLBACK:
        return "popular now; what you follow could not be read"
    if not via:
        return "you follow this board"
    owner = page.objects.found.get((type_pb2.OBJECT_KIND_USER, via))
    name = owner.user.name if owner is not None and "owner" in ask.display else ""
    return f"you follow {name}, who owns this board" if name else "you follow the owner of this board"
