"""Popular pins: what a user gets who follows nothing, or whose followed boards cannot be read.

Owns the two stages that such a page has of its own, around the ranking: the pins, without those that were
seen, and then the boards and owners of the best, which spacing needs and only their objects know.
Next: `pipeline.py`, which decides when.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from feedmesh.type.v1 import type_pb2
from services.chassis.errors import Unavailable
from services.feedgen.answers import Mesh
from services.feedgen.candidates import Candidates, without
from services.feedgen.config import BudgetConfig, RecipeConfig
from services.feedgen.page import Ask, Ranked
from services.feedgen.run import Run

_PLACED_PAGES: Final = 4
"""Pages of popular pins whose objects are read for their board and owner, which spacing needs."""


class PopularPins:
    """Makes candidates of what is popular."""

    def __init__(self, mesh: Mesh, recipe: RecipeConfig, budget: BudgetConfig) -> None:
        self._mesh = mesh
        self._recipe = recipe
        self._budget = budget

    async def candidates(self, ask: Ask, run: Run) -> Candidates:
        """The most popular pins that the user has not seen.

        Raises Unavailable when they cannot be read: nothing is left to show.
        """
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

    async def place(self, ask: Ask, ranked: Ranked, run: Run) -> Ranked:
        """The best popular pins with the boards and owners that their objects name."""
        best = np.argsort(-ranked.scores, kind="stable")[: _PLACED_PAGES * ask.page_size]
        ranked = ranked.take(best)
        candidates = ranked.candidates
        objects = await run.stage(
            "place",
            self._budget.display_share,
            lambda timeout_s: self._mesh.objects(
                {type_pb2.OBJECT_KIND_PIN: candidates.pins.tolist()}, timeout_s=timeout_s
            ),
            instead="popular pins are not spaced by board and owner",
        )
        if objects is None:
            return ranked
        pins = [objects.found.get((type_pb2.OBJECT_KIND_PIN, pin)) for pin in candidates.pins.tolist()]
        placed = replace(
            candidates,
            boards=np.array([found.pin.board if found else 0 for found in pins], np.uint64),
            owners=np.array([found.pin.owner if found else 0 for found in pins], np.uint64),
        )
        return replace(ranked, candidates=placed)
