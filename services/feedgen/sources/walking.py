"""From what a user did to boards that they may like: query pins, a walk over Pixie's graph, lists to
retrieve.

Owns the bases of a walk: pins that the user acted on lately, pins of their own boards, pins of followed
boards. The first that leads anywhere is the basis. Weights halve with age; the affinity of a board is its
share of the greatest score. The walk's random numbers come from the user and the session, so the pages of a
session walk alike. Next: `reader.py`, which retrieves the pins of the boards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import NotFound
from services.chassis.ids import mix64
from services.feedgen.answers import Acted, Lists, Mesh, RetrieveAsk, WalkAsk, Walked
from services.feedgen.config import BudgetConfig
from services.feedgen.hidden import is_among
from services.feedgen.page import Ask
from services.feedgen.recipes.recipe import Basis, SourceRecipe
from services.feedgen.run import Run
from services.feedgen.sources.facts import Facts

_HOUR_S: Final = 3_600
_PIN_VISITS_MAX: Final = 2_000
"""Pins whose visits are asked for: a feature of those that become candidates."""
_EXCLUDED_MAX: Final = 20_000
"""Boards that Pixie leaves out at most."""


@dataclass(frozen=True)
class QueryPins:
    """Where a walk starts."""

    pins: NDArray[np.uint64]
    weights: NDArray[np.float32]


class Walker:
    """Finds boards by walks."""

    def __init__(self, mesh: Mesh, budget: BudgetConfig) -> None:
        self._mesh = mesh
        self._budget = budget

    async def query_pins(
        self, source: SourceRecipe, basis: Basis, ask: Ask, facts: Facts, run: Run
    ) -> QueryPins | None:
        """The pins of a basis; None when there are none, or when they could not be read."""
        if basis == "recent_pins":
            acted = facts.signals.acted.get(source.signal)
            return None if acted is None else recent(acted, source, ask.cursor.session_ms, facts)
        if facts.graph is None:
            return None
        lists = Lists.of(facts.graph.own_boards) if basis == "own_boards" else facts.graph.boards
        if not len(lists):
            return None
        retrieved = await run.stage(
            ask.stage("query_pins", source),
            self._budget.retrieve_share,
            lambda timeout_s: self._mesh.retrieve(lists, _newest_of(lists, source, ask), timeout_s=timeout_s),
            instead="the next basis was used",
        )
        if retrieved is None or not len(retrieved.candidates):
            return None
        return QueryPins(retrieved.candidates.pins, np.maximum(retrieved.candidates.light, np.float32(1e-6)))

    async def walk(
        self, source: SourceRecipe, query: QueryPins, ask: Ask, facts: Facts, run: Run
    ) -> Walked | None:
        """Boards near the query pins; None when Pixie did not answer, or has no graph."""
        walk_ask = WalkAsk(
            pins=query.pins,
            weights=query.weights,
            excluded_boards=_not_new(facts, source),
            boards_max=source.lists_max,
            pins_max=_PIN_VISITS_MAX,
            reasons_max=source.led_from_max,
            preset=source.preset,
            step_count=source.step_count,
            preferred=ask.preferred,
            seed=mix64(ask.user ^ mix64(ask.cursor.session_ms)),
        )
        return await run.stage(
            ask.stage("walk", source),
            self._budget.walk_share,
            lambda timeout_s: self._mesh.walk(walk_ask, timeout_s=timeout_s),
            instead="the recipe's next basis or source was used",
            not_set_up=(NotFound,),
        )


def recent(acted: Acted, source: SourceRecipe, now_ms: int, facts: Facts) -> QueryPins | None:
    """What was acted on lately, the weightiest first; hidden pins, and what weighs nothing, left out."""
    age_s = np.maximum(now_ms / 1000 - acted.times.astype(np.float64), 0.0)
    weights = acted.weights * np.exp2(-age_s / (source.half_life_hours * _HOUR_S))
    kept = weights > 1e-9
    if facts.graph is not None:
        kept &= ~is_among(acted.pins, facts.graph.hidden.pins)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(-weights[rows], kind="stable")][: source.query_pins_max]
    return QueryPins(acted.pins[rows], weights[rows].astype(np.float32)) if len(rows) else None


def lists_of(walked: Walked, source: SourceRecipe) -> Lists:
    """The boards of a walk as lists to retrieve from."""
    share = walked.scores / max(float(walked.scores.max()), 1e-30)
    return Lists.of(walked.boards, np.maximum(share**source.visits_power, 1e-6).astype(np.float32))


def _newest_of(lists: Lists, source: SourceRecipe, ask: Ask) -> RetrieveAsk:
    """Pins to start from: of the user's own or followed boards, seen or not, whatever their age."""
    session_ms = ask.cursor.session_ms
    return RetrieveAsk(
        seen=None,
        excluded_pins=np.empty(0, np.uint64),
        limit=source.query_pins_max,
        saved_after_ms=0,
        saved_before_ms=session_ms if ask.cursor.page else 0,
        now_ms=session_ms,
        newest_first=False,
    )


def _not_new(facts: Facts, source: SourceRecipe) -> NDArray[np.uint64]:
    """Boards that a walk does not answer: hidden ones, and those that the user has anyway."""
    if facts.graph is None:
        return np.empty(0, np.uint64)
    parts = [facts.graph.hidden.boards]
    if source.new_boards_only:
        parts += [facts.graph.own_boards, facts.graph.boards.ids]
    return np.concatenate(parts)[:_EXCLUDED_MAX]
