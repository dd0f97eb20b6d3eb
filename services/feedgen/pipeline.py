"""The request path: facts → sources → filter → score → place → select → display and explain.

Owns the order of the stages and what is done when one is missed. Each stage is one short method, in the
order in which it runs; `Run` (run.py) keeps their time and their reports, `answers.Mesh` is how they ask.
Every feed takes this path: what differs is its recipe (recipes/). Refuses nothing itself: requests come
checked from `service.py`. Fallbacks, in order:

    graph     missed → as last known to this process → popular pins
    seen      missed → cursor and client-sent ids alone
    signals   missed → made and ranked without
    walk      missed → the recipe's other sources → popular pins
    retrieve  partial → what came; missed → the other sources → popular pins
    score     partial or missed → light score stands in
    place     missed → not spaced by board and owner
    display   missed → items without what is drawn
    explain_scores  partial or missed → items without what their scores are made of
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import NotFound
from services.feedgen.answers import Hidden, Mesh, ScoreAsk
from services.feedgen.candidates import Candidates, joined, without
from services.feedgen.candidates import blended as blended_scores
from services.feedgen.config import BudgetConfig
from services.feedgen.finishing import Finisher
from services.feedgen.hidden import is_among, marks_hidden
from services.feedgen.page import Ask, Page, Ranked, Ranking, Source, Sourced
from services.feedgen.run import COMPLETE, SKIPPED, Run
from services.feedgen.selection import Share, Spacing, select
from services.feedgen.slots import Insertion, Placed, laid_out, planned
from services.feedgen.sources.facts import Facts, FactsFetcher
from services.feedgen.sources.last_known import LastKnownGraphs
from services.feedgen.sources.placing import Placer
from services.feedgen.sources.reader import FALLBACK, SourceReader


class Feed:
    """Makes pages, by the recipe that each request brings."""

    def __init__(self, mesh: Mesh, budget: BudgetConfig, last_known: LastKnownGraphs) -> None:
        self._mesh = mesh
        self._budget = budget
        self._facts = FactsFetcher(mesh, budget, last_known)
        self._sources = SourceReader(mesh, budget)
        self._placer = Placer(mesh, budget)
        self._finisher = Finisher(mesh, budget)

    async def page(self, ask: Ask, run: Run) -> Page:
        """One page.

        Raises:
            Unavailable: nothing can be shown because services did not answer.
            BadRequest, TokenAhead: the request's own fault, found by another service.
            NotFound: the model that the request names is not there.
        """
        facts = await self._facts.fetch(ask, run)
        given = await self._sources.read(ask, facts, run)
        hidden = facts.graph.hidden if facts.graph is not None else Hidden()
        plan = self._planned(ask, hidden)
        fresh = self._filter(ask, given, hidden, plan, run)
        ranked = await self._score(ask, fresh, facts, run)
        placed = await self._placer.place(ask, ranked, hidden, run)
        selected = self._select(ask, given, placed, page_size=ask.page_size - len(plan), run=run)
        places, inserted = laid_out(plan, len(selected))
        page = Page(
            items=selected.candidates,
            scores=selected.scores,
            scored=selected.scored,
            places=places,
            inserted=inserted,
            source=_source_of(facts, given),
            sources=given,
            model=selected.model,
            more=len(fresh) > len(selected),
        )
        return await self._finisher.finish(ask, page, selected, facts.signals, run)

    # --- filter ----------------------------------------------------------------------------------------

    def _filter(
        self, ask: Ask, given: Sequence[Sourced], hidden: Hidden, plan: Sequence[Placed], run: Run
    ) -> Candidates:
        """Candidates of all sources that this session has not served, and that the user does not hide."""
        taken = np.array(sorted(placed.insertion.pin for placed in plan), np.uint64)
        total = sum(sourced.recipe.candidates_max for sourced in given)
        keep = min(1.0, ask.recipe.score.candidates_max / total)
        parts, served_count, hidden_count = [], 0, 0
        for at, sourced in enumerate(given):
            candidates = sourced.candidates
            served = ask.cursor.marks_served(candidates.pins) | is_among(candidates.pins, taken)
            gone = marks_hidden(candidates, hidden) & ~served
            served_count, hidden_count = served_count + int(served.sum()), hidden_count + int(gone.sum())
            fresh = without(candidates, served | gone)
            most = min(len(fresh), max(int(sourced.recipe.candidates_max * keep), 1))
            part = fresh.take(np.arange(most)) if most < len(fresh) else fresh
            parts.append(_from_source(part, sourced, at, alone=len(given) == 1))
        together, duplicate_count = joined(parts)
        run.count("filter", "served_in_session", served_count)
        run.count("filter", "hidden", hidden_count)
        if len(given) > 1:
            run.count("filter", "in_several_sources", duplicate_count)
        run.count("filter", "kept", len(together))
        return _with_visits(together, given)

    # --- score -----------------------------------------------------------------------------------------

    async def _score(self, ask: Ask, candidates: Candidates, facts: Facts, run: Run) -> Ranked:
        """The score that each candidate is ranked by."""
        if ask.ranking is not Ranking.MODEL or not len(candidates):
            run.report("score", SKIPPED)
            return _unscored(candidates, _without_model(ask.ranking, candidates))
        score_ask = ScoreAsk(
            ask.user,
            ask.model or ask.recipe.score.model,
            ask.cursor.session_ms,
            facts.signals.scored_with,
            ask.log_id,
        )
        scored = await run.stage(
            "score",
            self._budget.score_share,
            lambda timeout_s: self._mesh.score(candidates, score_ask, timeout_s=timeout_s),
            instead="ranked by light score",
            # A mesh without a model is a whole mesh, ranked by light score; a model that was asked for by
            # name and is not there is the caller's to mend.
            final=(NotFound,) if ask.model else (),
            not_set_up=() if ask.recipe.score.model else (NotFound,),
        )
        if scored is None:
            return _unscored(candidates, candidates.light)
        run.count("score", "scored", int(scored.present.sum()))
        scores = blended_scores(scored.scores, scored.present, candidates.light)
        nowhere = np.zeros(len(candidates), np.bool_)
        return Ranked(candidates, scores, scored.present, nowhere, scored.model)

    # --- select ----------------------------------------------------------------------------------------

    def _planned(self, ask: Ask, hidden: Hidden) -> list[Placed]:
        """What is inserted into this page."""
        if not ask.recipe.slots:
            return []

        def refused(insertion: Insertion) -> bool:
            pin = np.array([insertion.pin], np.uint64)
            ids = ((pin, hidden.pins), ([insertion.board], hidden.boards), ([insertion.owner], hidden.owners))
            return bool(ask.cursor.marks_served(pin)[0]) or any(
                bool(is_among(np.asarray(one, np.uint64), ascending)[0]) for one, ascending in ids
            )

        return planned(
            ask.recipe.slots,
            ask.insertions,
            shown_before=ask.cursor.shown_count,
            page_size=ask.page_size,
            refused=refused,
        )

    def _select(
        self, ask: Ask, given: Sequence[Sourced], ranked: Ranked, *, page_size: int, run: Run
    ) -> Ranked:
        """The candidates that make the page."""
        began = run.clock.monotonic()
        rule = ask.recipe.select
        spacing = Spacing(rule.board_gap, rule.owner_gap, rule.interest_gap, rule.source_gap)
        shares = [Share(sourced.recipe.share_min, sourced.recipe.share_max) for sourced in given]
        selected = select(
            ranked.scores, ranked.candidates, page_size=page_size, spacing=spacing, shares=shares
        )
        run.count("select", "moved_for_spacing", selected.moved_count)
        run.count("select", "spacing_relaxed", selected.relaxed_count)
        if len(shares) > 1:
            run.count("select", "over_share", selected.over_share_count)
        run.count("select", "kept", len(selected.rows))
        run.report("select", COMPLETE, began=began)
        return ranked.take(selected.rows)


def _from_source(candidates: Candidates, sourced: Sourced, at: int, *, alone: bool) -> Candidates:
    """A source's candidates under its place in the recipe."""
    if alone:
        return candidates
    if sourced.basis == "popular" and len(candidates):
        # Counts have no bound, light scores do: beside others they are brought to 0 to 1.
        greatest = max(float(candidates.light.max()), 1e-30)
        candidates = replace(candidates, light=candidates.light / np.float32(greatest))
    return replace(candidates, sources=np.full(len(candidates), at, np.uint8))


def _with_visits(candidates: Candidates, given: Sequence[Sourced]) -> Candidates:
    """Every candidate with the visits of the walk, whoever gave it: a walk passes many pins."""
    walked = next((sourced.walked for sourced in given if sourced.walked is not None), None)
    if walked is None or not len(walked.pins):
        return candidates
    places = np.minimum(np.searchsorted(walked.pins, candidates.pins), len(walked.pins) - 1)
    visits = np.where(walked.pins[places] == candidates.pins, walked.pin_visits[places], np.float32(0))
    return replace(candidates, pin_visits=visits.astype(np.float32, copy=False))


def _source_of(facts: Facts, given: Sequence[Sourced]) -> Source:
    """Where the page's candidates came from, in one word."""
    # A recipe may want popular pins; only where they stand in for something else the answer is another.
    stand_ins = [one for one in given if one.basis == "popular" and one.recipe.kind == "walk"]
    stand_ins += [one for one in given if one.recipe is FALLBACK]
    if stand_ins and all(one.basis in ("popular", "") for one in given):
        failed = any(one.failed for one in given)
        return Source.POPULAR_FALLBACK if failed else Source.POPULAR_COLD_START
    return Source.LAST_KNOWN if facts.last_known else Source.RECIPE


def _unscored(candidates: Candidates, scores: NDArray[np.float32]) -> Ranked:
    nowhere = np.zeros(len(candidates), np.bool_)
    return Ranked(candidates, scores, nowhere, nowhere, "")


def _without_model(ranking: Ranking, candidates: Candidates) -> NDArray[np.float32]:
    """The score of a ranking that asks no model: newest first, or light score."""
    if ranking is Ranking.NEWEST and len(candidates):
        # float32 cannot tell seconds since 1970 apart; seconds before the newest can be.
        age_s: NDArray[np.float32] = (candidates.saved_at.max() - candidates.saved_at).astype(np.float32)
        return -age_s
    return candidates.light
