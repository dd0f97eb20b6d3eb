"""Checks at the door: a request becomes an `Ask`, or a clear error.

Owns every limit of a request, and which recipe it means. Calls nothing. Next: `pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from feedmesh.feedgen.v1 import feedgen_pb2
from services.chassis.clock import Clock
from services.chassis.errors import BadRequest, InvalidCursor, InvalidId, LimitExceeded, UnknownEnum
from services.feedgen.config import FeedgenConfig
from services.feedgen.cursor import Cursor
from services.feedgen.display import DISPLAY_PARTS
from services.feedgen.page import Ask, Ranking
from services.feedgen.recipes.book import RecipeBook
from services.feedgen.recipes.recipe import Recipe
from services.feedgen.slots import Insertion

_RANKINGS: Final = {
    feedgen_pb2.RANKING_UNSPECIFIED: Ranking.MODEL,
    feedgen_pb2.RANKING_MODEL: Ranking.MODEL,
    feedgen_pb2.RANKING_LIGHT_SCORE: Ranking.LIGHT_SCORE,
    feedgen_pb2.RANKING_NEWEST: Ranking.NEWEST,
}
_FEEDS: Final = {
    feedgen_pb2.FEED_TYPE_UNSPECIFIED: "following",
    feedgen_pb2.FEED_TYPE_FOLLOWING: "following",
    feedgen_pb2.FEED_TYPE_INTEREST: "interest",
    feedgen_pb2.FEED_TYPE_PICKED_FOR_YOU: "picked_for_you",
    feedgen_pb2.FEED_TYPE_HOME: "home",
}
"""The recipes of the types."""
_CLOCKS_APART_MS: Final = 300_000
"""How far the clocks of two FeedGenerators may be apart, as Ingest allows it of events."""
_PREFERRED_CHARS_MAX: Final = 200


class RequestReader:
    """Reads requests."""

    def __init__(
        self,
        config: FeedgenConfig,
        recipes: RecipeBook,
        clock: Clock,
        *,
        waiting: Callable[[int], Sequence[int]],
    ) -> None:
        self._config = config
        self._recipes = recipes
        self._clock = clock
        # What was shown here a moment ago, and Aperture cannot know of yet, is as good as told.
        self._waiting = waiting

    def read(self, request: feedgen_pb2.GetFeedRequest, *, log_id: int) -> Ask:
        """The request as the pipeline wants it.

        Raises:
            BadRequest: with the field, what is wrong, and what to do.
            NotFound: the feed that the request names is not one of this deployment.
        """
        if not request.user:
            raise InvalidId("user is 0; give the id of the user whose feed is wanted")
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
        if len(request.preferred) > _PREFERRED_CHARS_MAX:
            raise LimitExceeded(
                f"preferred has {len(request.preferred)} characters, at most {_PREFERRED_CHARS_MAX}"
            )
        recipe, arms = self._recipes.recipe_for(request.user, _feed(request))
        return Ask(
            user=request.user,
            recipe=recipe,
            page_size=page_size,
            cursor=self._session(request, recipe.name),
            client_seen=np.array([*request.seen_pins, *self._waiting(request.user)], np.uint64),
            ranking=_RANKINGS[request.ranking],
            model=request.model,
            display=_display_parts(request),
            explain_scores=request.explain_scores,
            log_id=log_id,
            arms=arms,
            insertions=self._insertions(request, recipe),
            preferred=request.preferred,
        )

    def _session(self, request: feedgen_pb2.GetFeedRequest, feed: str) -> Cursor:
        """The session of the request's cursor, or a new one."""
        now_ms = self._clock.now_ms()
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

    def _insertions(self, request: feedgen_pb2.GetFeedRequest, recipe: Recipe) -> list[Insertion]:
        if len(request.insertions) > self._config.insertions_max:
            raise LimitExceeded(
                f"insertions has {len(request.insertions)} items, at most {self._config.insertions_max}; "
                "send what the page has slots for"
            )
        slots = {slot.name for slot in recipe.slots}
        for at, insertion in enumerate(request.insertions):
            if insertion.slot not in slots:
                there = ", ".join(sorted(slots)) or "none"
                raise BadRequest(
                    f"insertions[{at}].slot is {insertion.slot!r}; the feed {recipe.name} has {there}: "
                    "declare it in the recipe"
                )
            if not insertion.pin:
                raise InvalidId(f"insertions[{at}].pin is 0; give the pin that is shown")
        return [Insertion(one.slot, one.pin, one.board, one.owner, one.reason) for one in request.insertions]


def _feed(request: feedgen_pb2.GetFeedRequest) -> str:
    """The name of the recipe that a request means. Raises UnknownEnum."""
    if request.feed:
        return request.feed
    if request.type not in _FEEDS:
        raise UnknownEnum(
            f"type {request.type} is not a feed of this version; use FOLLOWING, INTEREST, PICKED_FOR_YOU or "
            "HOME, or name a recipe in `feed`"
        )
    return _FEEDS[request.type]


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
