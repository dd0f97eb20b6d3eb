"""The sources of a recipe: where candidates come from, all at the same time.

Owns what each kind of source is made of, and what it gives when a part does not answer:

    followed_boards     the graph's boards → Polaris
    followed_interests  the graph's interests → Polaris
    walk                the first basis that leads anywhere → Pixie → Polaris; `popular` as the last basis
    popular             Counter

A source that was missed gives nothing, and the others fill the page; when none has anything to retrieve from,
there are popular pins. Next: `walking.py`, `popular.py`; `../pipeline.py` joins what they give.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from services.chassis.errors import Unavailable
from services.feedgen.answers import Lists, Mesh, RetrieveAsk, Retrieved, Walked
from services.feedgen.candidates import Candidates, none_at_all
from services.feedgen.config import BudgetConfig
from services.feedgen.page import Ask, Ranking, Sourced
from services.feedgen.recipes.recipe import SourceRecipe
from services.feedgen.run import Run
from services.feedgen.sources.facts import Facts
from services.feedgen.sources.popular import PopularPins
from services.feedgen.sources.walking import Walker, lists_of

_DAY_MS: Final = 86_400_000
_RETRIEVE_MAX: Final = 10_000


class SourceReader:
    """Makes the candidates of a recipe's sources."""

    def __init__(self, mesh: Mesh, budget: BudgetConfig) -> None:
        self._mesh = mesh
        self._budget = budget
        self._walker = Walker(mesh, budget)
        self._popular = PopularPins(mesh, budget)

    async def read(self, ask: Ask, facts: Facts, run: Run) -> list[Sourced]:
        """What each source gives, in the recipe's order; and popular pins behind it, when none has anything
        to retrieve from.

        Raises Unavailable: nothing can be shown, because services did not answer.
        """
        sources = ask.recipe.sources
        if len(sources) == 1:
            given = [await self._source(sources[0], ask, facts, run)]
        else:
            tasks = [asyncio.create_task(self._source(source, ask, facts, run)) for source in sources]
            try:
                given = list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
        if not any(one.answered for one in given):
            fallback = await self._popular_source(FALLBACK, ask, run)
            if fallback is None:
                raise Unavailable(
                    "neither the feed's sources nor popular pins could be read; try again in a moment"
                )
            given.append(replace(fallback, failed=any(one.failed for one in given)))
        return given

    async def _source(self, source: SourceRecipe, ask: Ask, facts: Facts, run: Run) -> Sourced:
        if source.kind == "popular":
            found = await self._popular_source(source, ask, run)
            return found or Sourced(source, none_at_all(), failed=True)
        if source.kind == "walk":
            return await self._walk_source(source, ask, facts, run)
        if facts.graph is None:
            return Sourced(source, none_at_all(), failed=True)
        lists = facts.graph.interests if source.kind == "followed_interests" else facts.graph.boards
        if not len(lists):
            return Sourced(source, none_at_all(), failed=bool(facts.graph.missing))
        retrieved = await self._retrieve(source, lists, ask, facts, run)
        if retrieved is None:
            return Sourced(source, none_at_all(), failed=True)
        # Lists that nobody has put a pin on are as good as none.
        known = retrieved.known_count > 0 or bool(retrieved.missing)
        return Sourced(source, retrieved.candidates, basis=source.kind if known else "", answered=known)

    async def _walk_source(self, source: SourceRecipe, ask: Ask, facts: Facts, run: Run) -> Sourced:
        """The first basis that leads to candidates; what was tried before it costs its calls."""
        failed, answered, can_walk = facts.graph is None, False, True
        for basis in source.bases:
            if basis == "popular":
                found = await self._popular_source(source, ask, run)
                failed = failed or found is None
                return replace(found or Sourced(source, none_at_all()), failed=failed)
            query = await self._walker.query_pins(source, basis, ask, facts, run) if can_walk else None
            if query is None:
                continue
            walked = await self._walker.walk(source, query, ask, facts, run)
            if walked is None:
                # Without Pixie, or without a graph, no other pins lead anywhere.
                can_walk = False
                failed = failed or run.missed(ask.stage("walk", source))
                continue
            if not len(walked.boards):
                continue
            retrieved = await self._retrieve(source, lists_of(walked, source), ask, facts, run)
            failed, answered = failed or retrieved is None, answered or retrieved is not None
            if retrieved is not None and len(retrieved.candidates):
                candidates = _visited(retrieved.candidates, walked)
                return Sourced(source, candidates, basis, answered=True, walked=walked)
        return Sourced(source, none_at_all(), answered=answered, failed=failed)

    async def _popular_source(self, source: SourceRecipe, ask: Ask, run: Run) -> Sourced | None:
        """Popular pins as a source's candidates; None when they could not be read."""
        candidates = await self._popular.candidates(ask, run)
        return None if candidates is None else Sourced(source, candidates, basis="popular", answered=True)

    async def _retrieve(
        self, source: SourceRecipe, lists: Lists, ask: Ask, facts: Facts, run: Run
    ) -> Retrieved | None:
        """The best pins of the lists; None when nobody answered."""
        session_ms = ask.cursor.session_ms
        retrieve_ask = RetrieveAsk(
            seen=facts.seen,
            excluded_pins=ask.client_seen,
            # The session's own pins are filtered here by hash, so as many more are asked for.
            limit=min(source.candidates_max + len(ask.cursor.served), _RETRIEVE_MAX),
            saved_after_ms=max(session_ms - source.window_days * _DAY_MS, 0),
            # The first page takes pins of this very moment; later pages stay in the session's past.
            saved_before_ms=session_ms if ask.cursor.page else 0,
            now_ms=session_ms,
            newest_first=ask.ranking is Ranking.NEWEST,
        )
        stage = ask.stage("retrieve", source)
        retrieved = await run.stage(
            stage,
            self._budget.retrieve_share,
            lambda timeout_s: self._mesh.retrieve(lists, retrieve_ask, timeout_s=timeout_s),
            instead="other sources, or popular pins, were used",
        )
        if retrieved is None:
            return None
        _count(run, stage, retrieved.funnel)
        return retrieved


FALLBACK: Final = SourceRecipe(name="popular", kind="popular")
"""What there is when the recipe's own sources have nothing."""


def _visited(candidates: Candidates, walked: Walked) -> Candidates:
    """The candidates of a walk's boards, with the visits of their boards."""
    visits = walked.visits[np.searchsorted(walked.boards, candidates.boards)].astype(np.float32)
    return replace(candidates, board_visits=visits)


def _count(run: Run, stage: str, funnel: Mapping[str, int]) -> None:
    for reason, count in funnel.items():
        run.count(stage, reason, count)
