"""What `feedmesh feed` says below a page."""

from __future__ import annotations

import io

from rich.console import Console

from feedmesh.feedgen.v1 import feedgen_pb2
from services.cli.feed import _print_notes, made_from


def notes(answer: feedgen_pb2.GetFeedResponse) -> str:
    out = io.StringIO()
    _print_notes(Console(file=out, width=200), answer)
    return out.getvalue()


def test_a_page_that_is_not_up_to_date_says_so_and_explains_which_stages() -> None:
    stages = [
        feedgen_pb2.StageReport(stage="graph", status=feedgen_pb2.STAGE_STATUS_COMPLETE, stale_ms=2_500),
        feedgen_pb2.StageReport(stage="score", status=feedgen_pb2.STAGE_STATUS_COMPLETE),
    ]
    answer = feedgen_pb2.GetFeedResponse(stages=stages, complete=True, stale_ms=2_500)
    assert "not up to date: no word from the log for 2.5 s" in notes(answer)
    assert "silence of the log" not in notes(answer)
    answer.explain.SetInParent()
    assert "silence of the log: graph 2.5 s\n" in notes(answer)


def test_a_page_that_is_up_to_date_says_nothing_of_the_log() -> None:
    answer = feedgen_pb2.GetFeedResponse(complete=True, explain=feedgen_pb2.Explain())
    assert "log" not in notes(answer)


def test_a_blend_says_what_it_was_made_from_and_how_much_of_each() -> None:
    answer = feedgen_pb2.GetFeedResponse(
        source=feedgen_pb2.FEED_SOURCE_RECIPE,
        sources=[
            feedgen_pb2.SourceReport(
                source="a", kind="followed_boards", basis="followed_boards", item_count=12
            ),
            feedgen_pb2.SourceReport(source="b", kind="followed_interests", item_count=0),
            feedgen_pb2.SourceReport(source="c", kind="walk", basis="followed_boards", item_count=8),
        ],
    )
    assert made_from(answer) == "followed boards (12), a walk from followed boards (8)"
    answer.source = feedgen_pb2.FEED_SOURCE_POPULAR_COLD_START
    assert "popular" in made_from(answer)
