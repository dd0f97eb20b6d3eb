"""The request path: sources → retrieve → filter → score → select → display.

Owns the order of the stages and what is done when one is missed. Each stage is one short method, in the
order in which it runs; `Run` (run.py) keeps their time and their reports, `answers.Mesh` is how they ask.
Refuses nothing itself: requests come checked from `service.py`. Fallbacks, in order:

    graph     missed → boards as last known to this process → popular pins
    seen      missed → cursor and client-sent ids alone
    signals   missed → ranked without
    retrieve  partial → what came; missed → popular pins
    score     partial or missed → light score stands in
    display   missed → items without what is drawn
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.scorpion.v1 import scorpion_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import NotFound, Unavailable
from services.feedgen.answers import FollowedBoards, Mesh, Objects, RetrieveAsk, ScoreAsk
from services.feedgen.candidates import Candidates, blended, without
from services.feedgen.config import BudgetConfig, RecipeConfig
from services.feedgen.cursor import Cursor
from services.feedgen.last_known import LastKnownBoards
from services.feedgen.run import COMPLETE, SKIPPED, Run
from services.feedgen.selection import Spacing, select

_DAY_MS: Final = 86_400_000
_RETRIEVE_MAX: Final = 10_000
_POPULAR_PAGES: Final = 4
"""Pages of popular pins whose objects are read for their board and owner, which spacing needs."""


class Source(Enum):
    """Where the candidates came from."""

    RECIPE = 1
    POPULAR_COLD_START = 2
    POPULAR_FALLBACK = 3
    LAST_KNOWN = 4


class Ranking(Enum):
    """How candidates are ranked."""

    MODEL = 1
    LIGHT_SCORE = 2
    NEWEST = 3


@dataclass(frozen=True)
class Ask:
    """A checked request."""

    user: int
    page_size: int
    cursor: Cursor
    """The session; a new one when the request had none."""
    client_seen: NDArray[np.uint64]
    ranking: Ranking
    model: str
    display: frozenset[str]
    """Parts of the display that are wanted; empty: none."""


@dataclass(frozen=True)
class Page:
    """What the answer is made of: aligned columns in page order."""

    items: Candidates
    scores: NDArray[np.float32]
    source: Source
    model: str
    objects: Objects
    more: bool
    """Whether candidates are left for another page."""


@dataclass(frozen=True)
class _Sources:
    followed: FollowedBoards | None
    source: Source
    seen: type_pb2.BloomFilter | None
    signals: Sequence[scorpion_pb2.UserSignal]


@dataclass(frozen=True)
class _Ranked:
    candidates: Candidates
    scores: NDArray[np.float32]
    model: str


class FollowingFeed:
    """Makes pages of the FOLLOWING feed."""

    def __init__(
        self, mesh: Mesh, recipe: RecipeConfig, budget: BudgetConfig, last_known: LastKnownBoards
    ) -> None:
        self._mesh = mesh
        self._recipe = recipe
        self._budget = budget
        self._last_known = last_known

    async def page(self, ask: Ask, run: Run) -> Page:
        """One page.

        Raises:
            Unavailable: nothing can be shown because services did not answer.
            BadRequest, TokenAhead: the request's own fault, found by another service.
            NotFound: the model that the request names is not there.
        """
        sources = await self._fetch(ask, run)
        candidates, source = await self._retrieve(ask, sources, run)
        fresh = self._filter(ask, candidates, run)
        ranked = await self._score(ask, fresh, sources.signals, run)
        if source in (Source.POPULAR_COLD_START, Source.POPULAR_FALLBACK):
            ranked = await self._place(ask, ranked, run)
        page, more = self._select(ask, ranked, run)
        objects = await self._display(ask, page.candidates, run)
        return Page(page.candidates, page.scores, source, page.model, objects, more)

    # --- sources ---------------------------------------------------------------------------------------

    async def _fetch(self, ask: Ask, run: Run) -> _Sources:
        """Graph, seen and signals at the same time."""
        graph_task = asyncio.create_task(self._graph(ask, run))
        seen_task = asyncio.create_task(self._seen(ask, run))
        signals_task = asyncio.create_task(self._signals(ask, run))
        try:
            followed, seen, signals = await asyncio.gather(graph_task, seen_task, signals_task)
        finally:
            # When one ends the request (a bad token), the others must not run on without a reader.
            for task in (graph_task, seen_task, signals_task):
                task.cancel()
        source = Source.RECIPE
        if followed is None:
            followed = self._last_known.get(ask.user)
            source = Source.LAST_KNOWN
        else:
            self._last_known.keep(ask.user, followed)
        return _Sources(followed, source, seen, signals or ())

    async def _graph(self, ask: Ask, run: Run) -> FollowedBoards | None:
        return await run.stage(
            "graph",
            self._budget.fetch_share,
            lambda timeout_s: self._mesh.followed_boards(
                ask.user, limit=self._recipe.boards_max, timeout_s=timeout_s
            ),
            instead="boards as last known, or popular pins, were used",
        )

    async def _seen(self, ask: Ask, run: Run) -> type_pb2.BloomFilter | None:
        return await run.stage(
            "seen",
            self._budget.fetch_share,
            lambda timeout_s: self._mesh.seen_filter(
                ask.user,
                window_days=self._recipe.seen_window_days,
                false_positive_rate=self._recipe.seen_false_positive_rate,
                timeout_s=timeout_s,
            ),
            instead="only this session and the client's own list keep pins from repeating",
        )

    async def _signals(self, ask: Ask, run: Run) -> Sequence[scorpion_pb2.UserSignal] | None:
        if ask.ranking is not Ranking.MODEL:
            run.report("signals", SKIPPED)
            return None
        return await run.stage(
            "signals",
            self._budget.fetch_share,
            lambda timeout_s: self._mesh.signals(ask.user, timeout_s=timeout_s),
            instead="ranked without the signals of the last minutes",
        )

    # --- retrieve --------------------------------------------------------------------------------------

    async def _retrieve(self, ask: Ask, sources: _Sources, run: Run) -> tuple[Candidates, Source]:
        """Candidates of the followed boards; popular pins when there are no boards or nobody answered."""
        followed = sources.followed
        if followed is None:
            return await self._popular(ask, run), Source.POPULAR_FALLBACK
        if not len(followed.boards):
            cold = not followed.missing
            return await self._popular(ask, run), (
                Source.POPULAR_COLD_START if cold else Source.POPULAR_FALLBACK
            )
        run.count("graph", "followed_boards", len(followed.boards))
        retrieved = await run.stage(
            "retrieve",
            self._budget.retrieve_share,
            lambda timeout_s: self._mesh.retrieve(
                followed, self._retrieve_ask(ask, sources.seen), timeout_s=timeout_s
            ),
            instead="popular pins were used",
        )
        if retrieved is None:
            return await self._popular(ask, run), Source.POPULAR_FALLBACK
        for reason, count in retrieved.funnel.items():
            run.count("retrieve", reason, count)
        return retrieved.candidates, sources.source

    def _retrieve_ask(self, ask: Ask, seen: type_pb2.BloomFilter | None) -> RetrieveAsk:
        session_ms = ask.cursor.session_ms
        return RetrieveAsk(
            seen=seen,
            excluded_pins=ask.client_seen,
            # The session's own pins are filtered here by hash, so as many more are asked for.
            limit=min(self._recipe.candidates_max + len(ask.cursor.served), _RETRIEVE_MAX),
            saved_after_ms=session_ms - self._recipe.window_days * _DAY_MS,
            # The first page takes pins of this very moment; later pages stay in the session's past.
            saved_before_ms=session_ms if ask.cursor.page else 0,
            now_ms=session_ms,
            newest_first=ask.ranking is Ranking.NEWEST,
        )

    async def _popular(self, ask: Ask, run: Run) -> Candidates:
        """The most popular pins that the user has not seen."""
        candidates = await run.stage(
            "popular",
            self._budget.retrieve_share,
            lambda timeout_s: self._mesh.popular(
                counter=self._recipe.popular_counter,
                limit=self._recipe.popular_max + len(ask.cursor.served),
                timeout_s=timeout_s,
            ),
            instead="nothing is left to show",
        )
        if candidates is None:
            raise Unavailable(
                "neither the followed boards nor popular pins could be read; try again in a moment"
            )
        seen = await run.stage(
            "popular_seen",
            self._budget.retrieve_share,
            lambda timeout_s: self._mesh.seen_pins(
                ask.user, window_days=self._recipe.seen_window_days, timeout_s=timeout_s
            ),
            instead="popular pins may have been seen before",
        )
        known = ask.client_seen if seen is None else np.concatenate([seen, ask.client_seen])
        removed = np.isin(candidates.pins, known)
        run.count("popular", "seen", int(removed.sum()))
        return without(candidates, removed)

    # --- filter, score ---------------------------------------------------------------------------------

    def _filter(self, ask: Ask, candidates: Candidates, run: Run) -> Candidates:
        """Candidates that this session has not served."""
        served = ask.cursor.marks_served(candidates.pins)
        run.count("filter", "served_in_session", int(served.sum()))
        fresh = without(candidates, served)
        kept = fresh.take(np.arange(min(len(fresh), self._recipe.candidates_max)))
        run.count("filter", "kept", len(kept))
        return kept

    async def _score(
        self, ask: Ask, candidates: Candidates, signals: Sequence[scorpion_pb2.UserSignal], run: Run
    ) -> _Ranked:
        """The score that each candidate is ranked by."""
        if ask.ranking is not Ranking.MODEL or not len(candidates):
            run.report("score", SKIPPED)
            return _Ranked(candidates, _without_model(ask.ranking, candidates), "")
        scored = await run.stage(
            "score",
            self._budget.score_share,
            lambda timeout_s: self._mesh.score(
                candidates,
                ScoreAsk(ask.user, ask.model, ask.cursor.session_ms, signals),
                timeout_s=timeout_s,
            ),
            instead="ranked by light score",
            # A mesh without a model is a whole mesh, ranked by light score; a model that was asked for by
            # name and is not there is the caller's to mend.
            final=(NotFound,) if ask.model else (),
            not_set_up=(NotFound,),
        )
        if scored is None:
            return _Ranked(candidates, candidates.light, "")
        run.count("score", "scored", int(scored.present.sum()))
        return _Ranked(candidates, blended(scored.scores, scored.present, candidates.light), scored.model)

    async def _place(self, ask: Ask, ranked: _Ranked, run: Run) -> _Ranked:
        """The best popular pins with the boards and owners that their objects name."""
        best = np.argsort(-ranked.scores, kind="stable")[: _POPULAR_PAGES * ask.page_size]
        candidates, scores = ranked.candidates.take(best), ranked.scores[best]
        objects = await run.stage(
            "place",
            self._budget.display_share,
            lambda timeout_s: self._mesh.objects(
                {type_pb2.OBJECT_KIND_PIN: candidates.pins.tolist()}, timeout_s=timeout_s
            ),
            instead="popular pins are not spaced by board and owner",
        )
        if objects is None:
            return _Ranked(candidates, scores, ranked.model)
        pins = [objects.found.get((type_pb2.OBJECT_KIND_PIN, pin)) for pin in candidates.pins.tolist()]
        placed = replace(
            candidates,
            boards=np.array([found.pin.board if found else 0 for found in pins], np.uint64),
            owners=np.array([found.pin.owner if found else 0 for found in pins], np.uint64),
        )
        return _Ranked(placed, scores, ranked.model)

    # --- select, display -------------------------------------------------------------------------------

    def _select(self, ask: Ask, ranked: _Ranked, run: Run) -> tuple[_Ranked, bool]:
        """The page, and whether anything is left after it."""
        began = run.clock.monotonic()
        spacing = Spacing(board_gap=self._recipe.board_gap, owner_gap=self._recipe.owner_gap)
        candidates = ranked.candidates
        selected = select(
            ranked.scores, candidates.boards, candidates.owners, page_size=ask.page_size, spacing=spacing
        )
        run.count("select", "moved_for_spacing", selected.moved_count)
        run.count("select", "spacing_relaxed", selected.relaxed_count)
        run.count("select", "kept", len(selected.rows))
        run.report("select", COMPLETE, began=began)
        page = _Ranked(candidates.take(selected.rows), ranked.scores[selected.rows], ranked.model)
        return page, len(candidates) > len(selected.rows)

    async def _display(self, ask: Ask, items: Candidates, run: Run) -> Objects:
        """What a frontend draws, in one batch."""
        if not ask.display or not len(items):
            run.report("display", SKIPPED)
            return Objects({})
        wanted: dict[int, list[int]] = {type_pb2.OBJECT_KIND_PIN: items.pins.tolist()}
        if "board" in ask.display:
            wanted[type_pb2.OBJECT_KIND_BOARD] = np.unique(items.boards[items.boards > 0]).tolist()
        if "owner" in ask.display:
            owners = np.unique(np.concatenate([items.owners, items.via]))
            wanted[type_pb2.OBJECT_KIND_USER] = owners[owners > 0].tolist()
        objects = await run.stage(
            "display",
            self._budget.display_share,
            lambda timeout_s: self._mesh.objects(wanted, timeout_s=timeout_s),
            instead="items come without what is drawn",
        )
        return objects or Objects({})


def _without_model(ranking: Ranking, candidates: Candidates) -> NDArray[np.float32]:
    """The score of a ranking that asks no model: newest first, or light score."""
    if ranking is Ranking.NEWEST and len(candidates):
        # float32 cannot tell seconds since 1970 apart; seconds before the newest can be.
        age_s: NDArray[np.float32] = (candidates.saved_at.max() - candidates.saved_at).astype(np.float32)
        return -age_s
    return candidates.light
