"""The request path: sources → retrieve → filter → score → select → display and explain.

Owns the order of the stages and what is done when one is missed. Each stage is one short method, in the
order in which it runs; `Run` (run.py) keeps their time and their reports, `answers.Mesh` is how they ask.
Refuses nothing itself: requests come checked from `service.py`. Fallbacks, in order:

    graph     missed → boards as last known to this process → popular pins
    seen      missed → cursor and client-sent ids alone
    signals   missed → ranked without
    retrieve  partial → what came; missed → popular pins
    score     partial or missed → light score stands in
    display   missed → items without what is drawn
    explain_scores  partial or missed → items without what their scores are made of
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.scorpion.v1 import scorpion_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import BadRequest, NotFound, Unavailable
from services.feedgen.answers import Explained, FollowedBoards, Mesh, Objects, RetrieveAsk, ScoreAsk
from services.feedgen.candidates import Candidates, blended, without
from services.feedgen.config import BudgetConfig, RecipeConfig
from services.feedgen.last_known import LastKnownBoards
from services.feedgen.page import Ask, Page, Ranked, Ranking, Source
from services.feedgen.popular import PopularPins
from services.feedgen.run import COMPLETE, SKIPPED, Run
from services.feedgen.selection import Spacing, select

_DAY_MS: Final = 86_400_000
_RETRIEVE_MAX: Final = 10_000
_EXPLAINED_MAX: Final = 250
"""Candidates that Scorpion explains in one call."""


@dataclass(frozen=True)
class _Sources:
    followed: FollowedBoards | None
    source: Source
    seen: type_pb2.BloomFilter | None
    signals: Sequence[scorpion_pb2.UserSignal]


class FollowingFeed:
    """Makes pages of the FOLLOWING feed."""

    def __init__(
        self, mesh: Mesh, recipe: RecipeConfig, budget: BudgetConfig, last_known: LastKnownBoards
    ) -> None:
        self._mesh = mesh
        self._recipe = recipe
        self._budget = budget
        self._last_known = last_known
        self._popular = PopularPins(mesh, recipe, budget)

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
        if source.popular:
            ranked = await self._popular.place(ask, ranked, run)
        page, more = self._select(ask, ranked, run)
        objects, explained = await self._finish(ask, page, source, sources.signals, run)
        return Page(
            items=page.candidates,
            scores=page.scores,
            scored=page.scored,
            source=source,
            model=page.model,
            objects=objects,
            explained=explained,
            more=more,
        )

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
            return await self._popular.candidates(ask, run), Source.POPULAR_FALLBACK
        if not len(followed.boards):
            cold = not followed.missing
            return await self._popular.candidates(ask, run), (
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
            return await self._popular.candidates(ask, run), Source.POPULAR_FALLBACK
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
    ) -> Ranked:
        """The score that each candidate is ranked by."""
        if ask.ranking is not Ranking.MODEL or not len(candidates):
            run.report("score", SKIPPED)
            return _unscored(candidates, _without_model(ask.ranking, candidates))
        scored = await run.stage(
            "score",
            self._budget.score_share,
            lambda timeout_s: self._mesh.score(
                candidates,
                ScoreAsk(ask.user, ask.model, ask.cursor.session_ms, signals, ask.log_id),
                timeout_s=timeout_s,
            ),
            instead="ranked by light score",
            # A mesh without a model is a whole mesh, ranked by light score; a model that was asked for by
            # name and is not there is the caller's to mend.
            final=(NotFound,) if ask.model else (),
            not_set_up=(NotFound,),
        )
        if scored is None:
            return _unscored(candidates, candidates.light)
        run.count("score", "scored", int(scored.present.sum()))
        scores = blended(scored.scores, scored.present, candidates.light)
        return Ranked(candidates, scores, scored.present, scored.model)

    # --- select, display -------------------------------------------------------------------------------

    def _select(self, ask: Ask, ranked: Ranked, run: Run) -> tuple[Ranked, bool]:
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
        return ranked.take(selected.rows), len(candidates) > len(selected.rows)

    async def _finish(
        self,
        ask: Ask,
        page: Ranked,
        source: Source,
        signals: Sequence[scorpion_pb2.UserSignal],
        run: Run,
    ) -> tuple[Objects, Explained]:
        """What is drawn, and when it is asked for what the scores are made of, at the same time."""
        if not ask.explain_scores:
            return await self._display(ask, page.candidates, run), Explained()
        display_task = asyncio.create_task(self._display(ask, page.candidates, run))
        explain_task = asyncio.create_task(self._explain(ask, page, source, signals, run))
        try:
            return await asyncio.gather(display_task, explain_task)
        finally:
            for task in (display_task, explain_task):
                task.cancel()

    async def _explain(
        self,
        ask: Ask,
        page: Ranked,
        source: Source,
        signals: Sequence[scorpion_pb2.UserSignal],
        run: Run,
    ) -> Explained:
        """What the scores are made of, asked for as Score was."""
        places = np.flatnonzero(page.scored)
        if not places.size:
            run.report("explain_scores", SKIPPED, "no model scored what is on the page")
            return Explained()
        asked = places[:_EXPLAINED_MAX]
        candidates = page.candidates.take(asked)
        if source.popular:
            # Their boards and owners were looked up after they were scored.
            unknown = np.zeros(len(asked), np.uint64)
            candidates = replace(candidates, boards=unknown, owners=unknown)

        async def call(timeout_s: float) -> Explained:
            score_ask = ScoreAsk(ask.user, page.model, ask.cursor.session_ms, signals)
            try:
                explained = await self._mesh.explain(candidates, score_ask, timeout_s=timeout_s)
            except BadRequest as fault:
                # A Scorpion with other limits; the page that is there must not end for it.
                raise Unavailable(str(fault)) from fault
            left_out = len(places) - len(asked)
            missing = explained.missing or (f"{left_out} items beyond {len(asked)}" if left_out else "")
            return Explained([replace(part, rows=asked[part.rows]) for part in explained.parts], missing)

        explained = await run.stage(
            "explain_scores",
            self._budget.explain_share,
            call,
            instead="items come without what their scores are made of",
        )
        return explained or Explained()

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


def _unscored(candidates: Candidates, scores: NDArray[np.float32]) -> Ranked:
    return Ranked(candidates, scores, np.zeros(len(candidates), np.bool_), "")


def _without_model(ranking: Ranking, candidates: Candidates) -> NDArray[np.float32]:
    """The score of a ranking that asks no model: newest first, or light score."""
    if ranking is Ranking.NEWEST and len(candidates):
        # float32 cannot tell seconds since 1970 apart; seconds before the newest can be.
        age_s: NDArray[np.float32] = (candidates.saved_at.max() - candidates.saved_at).astype(np.float32)
        return -age_s
    return candidates.light
