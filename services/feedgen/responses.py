"""A page as the answer that a frontend gets.

Owns the shape of the answer: items in page order, the inserted ones between the others, the stages, the
sources and the explanation. Next: `reasons.py`, `display.py`, `explanations.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from feedmesh.feedgen.v1 import feedgen_pb2
from services.chassis.rpc.context import Span
from services.feedgen.display import display_of
from services.feedgen.explanations import explain_items
from services.feedgen.page import Ask, Page, Source
from services.feedgen.reasons import led_from, reason, title_of
from services.feedgen.run import COMPLETE, MISSED, PARTIAL, SKIPPED, Run
from services.feedgen.slots import Insertion

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


def response_of(ask: Ask, page: Page, run: Run, *, request_id: str) -> feedgen_pb2.GetFeedResponse:
    """The answer, without its explanation."""
    items = _items(ask, page)
    shown_count = len(page.places) + len(page.inserted)
    return feedgen_pb2.GetFeedResponse(
        items=items,
        cursor=ask.cursor.after(page.pins, shown_count=shown_count).encode() if page.more else b"",
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
        sources=_source_reports(page),
        model=page.model,
        request_id=request_id,
        session_ms=ask.cursor.session_ms,
        feed=ask.recipe.name,
        arms=[feedgen_pb2.Arm(experiment=experiment, arm=arm) for experiment, arm in ask.arms],
    )


def explanation_of(run: Run, spans: Sequence[Span], began: float) -> feedgen_pb2.Explain:
    """How the page came about: the funnel, and the calls in order of time."""
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


def _items(ask: Ask, page: Page) -> list[feedgen_pb2.Item]:
    """The items in page order."""
    made = _made_items(ask, page)
    explain_items(made, page.explained)
    if not page.inserted:
        return made
    by_place = dict(zip(page.places, made, strict=True))
    by_place.update({placed.place: _inserted_item(ask, page, placed.insertion) for placed in page.inserted})
    return [by_place[place] for place in sorted(by_place)]


def _made_items(ask: Ask, page: Page) -> list[feedgen_pb2.Item]:
    columns = page.items
    items = []
    for row, (pin, board, owner, score, light, saved_at, interest, source) in enumerate(
        zip(
            columns.pins.tolist(),
            columns.boards.tolist(),
            columns.owners.tolist(),
            page.scores.tolist(),
            columns.light.tolist(),
            columns.saved_at.tolist(),
            columns.interests.tolist(),
            columns.sources.tolist(),
            strict=True,
        )
    ):
        item = feedgen_pb2.Item(
            pin=pin,
            board=board,
            owner=owner,
            score=score,
            light_score=light,
            saved_ms=saved_at * 1000,
            reason=reason(page, row, ask),
            source=page.sources[source].recipe.name,
            interest=interest,
            led_from=[
                feedgen_pb2.LedFrom(pin=led, visit_count=visits, title=title_of(page, led))
                for led, visits in led_from(page, row)
            ],
        )
        if ask.display:
            item.display.CopyFrom(
                display_of(page.objects.found, ask.display, pin=pin, board=board, owner=owner)
            )
        items.append(item)
    return items


def _inserted_item(ask: Ask, page: Page, insertion: Insertion) -> feedgen_pb2.Item:
    item = feedgen_pb2.Item(
        pin=insertion.pin,
        board=insertion.board,
        owner=insertion.owner,
        reason=insertion.reason,
        slot=insertion.slot,
    )
    if ask.display and insertion.pin:
        item.display.CopyFrom(
            display_of(
                page.objects.found,
                ask.display,
                pin=insertion.pin,
                board=insertion.board,
                owner=insertion.owner,
            )
        )
    return item


def _source_reports(page: Page) -> list[feedgen_pb2.SourceReport]:
    counts = np.bincount(page.items.sources, minlength=len(page.sources)).tolist()
    return [
        feedgen_pb2.SourceReport(
            source=sourced.recipe.name,
            kind=sourced.recipe.kind,
            basis=sourced.basis,
            candidate_count=len(sourced.candidates),
            item_count=count,
        )
        for sourced, count in zip(page.sources, counts, strict=True)
    ]
