"""Which feed a request means, and what is refused about the feeds of this deployment."""

from __future__ import annotations

import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from services.chassis.clock import FakeClock
from services.chassis.errors import FeedmeshError, InvalidCursor, LimitExceeded, NotFound
from services.feedgen.config import FeedgenConfig
from services.feedgen.cursor import Cursor
from services.feedgen.page import Ask
from services.feedgen.recipes.book import RecipeBook
from services.feedgen.requests import RequestReader
from tests.feedgen.recipes import TREES

NOW_MS = 1_700_000_000_000
SLOTS = {**TREES["home"], "slots": [{"name": "ad", "first": 4, "every": 8}]}


def read(request: feedgen_pb2.GetFeedRequest) -> Ask:
    book = RecipeBook({**TREES, "with_slots": SLOTS})
    reader = RequestReader(FeedgenConfig(), book, FakeClock(NOW_MS), waiting=lambda _: [])
    return reader.read(request, log_id=0)


@pytest.mark.parametrize(
    ("type_", "feed"),
    [
        (feedgen_pb2.FEED_TYPE_UNSPECIFIED, "following"),
        (feedgen_pb2.FEED_TYPE_FOLLOWING, "following"),
        (feedgen_pb2.FEED_TYPE_INTEREST, "interest"),
        (feedgen_pb2.FEED_TYPE_PICKED_FOR_YOU, "picked_for_you"),
        (feedgen_pb2.FEED_TYPE_HOME, "home"),
    ],
)
def test_types_mean_the_recipes_that_come_with_feedmesh(
    type_: feedgen_pb2.FeedType.ValueType, feed: str
) -> None:
    assert read(feedgen_pb2.GetFeedRequest(user=7, type=type_)).recipe.name == feed


def test_a_name_wins_over_the_type() -> None:
    request = feedgen_pb2.GetFeedRequest(user=7, type=feedgen_pb2.FEED_TYPE_HOME, feed="with_slots")
    assert read(request).recipe.name == "with_slots"


def _ad(**fields: int | str) -> feedgen_pb2.Insertion:
    return feedgen_pb2.Insertion(**{"slot": "ad", "pin": 5, **fields})  # type: ignore[arg-type]


def _request(**fields: object) -> feedgen_pb2.GetFeedRequest:
    return feedgen_pb2.GetFeedRequest(**{"user": 7, "feed": "with_slots", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (_request(feed="hom"), NotFound, "there is no feed 'hom' here; there are following, home"),
        (_request(insertions=[_ad(slot="note")]), FeedmeshError, "the feed with_slots has ad"),
        (_request(feed="home", insertions=[_ad()]), FeedmeshError, "the feed home has none"),
        (_request(insertions=[_ad(pin=0)]), FeedmeshError, r"insertions\[0\].pin is 0"),
        (_request(insertions=[_ad()] * 101), LimitExceeded, "at most 100"),
        (_request(preferred="x" * 201), LimitExceeded, "at most 200"),
        (
            _request(cursor=Cursor(user=7, feed="home", session_ms=NOW_MS).encode()),
            InvalidCursor,
            "another user or feed",
        ),
    ],
    ids=["no such feed", "no such slot", "no slots", "pin 0", "too many", "long preference", "other feed"],
)
def test_what_is_wrong_with_a_request_is_said(
    request_: feedgen_pb2.GetFeedRequest, error: type[FeedmeshError], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(request_)
