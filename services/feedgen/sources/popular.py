"""Popular pins: what a user gets who follows nothing, or whose sources cannot be read.

Owns the two stages that such candidates have of their own: the pins, and which of them were seen. Their
boards and owners are looked up once they are ranked (`placing.py`). Next: `reader.py`, which decides when.
"""

from __future__ import annotations

import numpy as np

from services.feedgen.answers import Mesh
from services.feedgen.candidates import Candidates, without
from services.feedgen.config import BudgetConfig
from services.feedgen.page import Ask
from services.feedgen.run import Run


class PopularPins:
    """Makes candidates of what is popular."""

    def __init__(self, mesh: Mesh, budget: BudgetConfig) -> None:
        self._mesh = mesh
        self._budget = budget

    async def candidates(self, ask: Ask, run: Run) -> Candidates | None:
        """The most popular pins that the user has not seen; None when they could not be read."""
        popular, seen_window_days = ask.recipe.popular, ask.recipe.seen.window_days
        candidates = await run.stage(
            "popular",
            self._budget.retrieve_share,
            lambda timeout_s: self._mesh.popular(
                counter=popular.counter,
                limit=popular.pins_max + len(ask.cursor.served),
                timeout_s=timeout_s,
            ),
            instead="nothing is left to show",
        )
        if candidates is None:
            return None
        seen = await run.stage(
            "popular_seen",
            self._budget.retrieve_share,
            lambda timeout_s: self._mesh.seen_pins(
                ask.user, window_days=seen_window_days, timeout_s=timeout_s
            ),
            instead="popular pins may have been seen before",
        )
        known = ask.client_seen if seen is None else np.concatenate([seen, ask.client_seen])
        removed = np.isin(candidates.pins, known)
        run.count("popular", "seen", int(removed.sum()))
        return without(candidates, removed)
