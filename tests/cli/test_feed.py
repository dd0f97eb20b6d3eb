"""What `feedmesh feed` says below a page."""

from __future__ import annotations

import io

from rich.console import Console

from feedmesh.feedgen.v1 import feedgen_pb2
from services.cli.feed import _print_notes


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
