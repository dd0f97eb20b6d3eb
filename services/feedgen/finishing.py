"""The last stages of a page: what is drawn, and when it is asked for what the scores are made of.

Owns both at the same time. A page that is there never ends for them: what does not come is left out, and
said.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import numpy as np

from feedmesh.type.v1 import type_pb2
from services.chassis.errors import BadRequest, Unavailable
from services.feedgen.answers import Explained, Mesh, Objects, ScoreAsk, Signals
from services.feedgen.config import BudgetConfig
from services.feedgen.page import Ask, Page, Ranked
from services.feedgen.reasons import leading_pins
from services.feedgen.run import SKIPPED, Run

_EXPLAINED_MAX: Final = 250
"""Candidates that Scorpion explains in one call."""


class Finisher:
    """Completes pages."""

    def __init__(self, mesh: Mesh, budget: BudgetConfig) -> None:
        self._mesh = mesh
        self._budget = budget

    async def finish(self, ask: Ask, page: Page, selected: Ranked, signals: Signals, run: Run) -> Page:
        """The page with what is drawn of it, and with what its scores are made of."""
        if not ask.explain_scores:
            return replace(page, objects=await self._display(ask, page, run))
        display_task = asyncio.create_task(self._display(ask, page, run))
        explain_task = asyncio.create_task(self._explain(ask, selected, signals, run))
        try:
            objects, explained = await asyncio.gather(display_task, explain_task)
        finally:
            for task in (display_task, explain_task):
                task.cancel()
        return replace(page, objects=objects, explained=explained)

    async def _explain(self, ask: Ask, selected: Ranked, signals: Signals, run: Run) -> Explained:
        """What the scores are made of, asked for as Score was."""
        rows = np.flatnonzero(selected.scored)
        if not rows.size:
            run.report("explain_scores", SKIPPED, "no model scored what is on the page")
            return Explained()
        asked = rows[:_EXPLAINED_MAX]
        candidates, placed = selected.candidates.take(asked), selected.placed[asked]
        if placed.any():
            # Their boards and owners were looked up after they were scored.
            candidates = replace(
                candidates,
                boards=np.where(placed, np.uint64(0), candidates.boards),
                owners=np.where(placed, np.uint64(0), candidates.owners),
            )

        async def call(timeout_s: float) -> Explained:
            score_ask = ScoreAsk(ask.user, selected.model, ask.cursor.session_ms, signals.scored_with)
            try:
                explained = await self._mesh.explain(candidates, score_ask, timeout_s=timeout_s)
            except BadRequest as fault:
                # A Scorpion with other limits; the page that is there must not end for it.
                raise Unavailable(str(fault)) from fault
            left_out = len(rows) - len(asked)
            missing = explained.missing or (f"{left_out} items beyond {len(asked)}" if left_out else "")
            return Explained([replace(part, rows=asked[part.rows]) for part in explained.parts], missing)

        explained = await run.stage(
            "explain_scores",
            self._budget.explain_share,
            call,
            instead="items come without what their scores are made of",
        )
        return explained or Explained()

    async def _display(self, ask: Ask, page: Page, run: Run) -> Objects:
        """What a frontend draws, in one batch."""
        if not ask.display or not len(page.pins):
            run.report("display", SKIPPED)
            return Objects({})
        wanted = _wanted(ask, page)
        objects = await run.stage(
            "display",
            self._budget.display_share,
            lambda timeout_s: self._mesh.objects(wanted, timeout_s=timeout_s),
            instead="items come without what is drawn",
        )
        return objects or Objects({})


def _wanted(ask: Ask, page: Page) -> dict[int, list[int]]:
    """Ids by kind: of what is drawn, and of what the reasons name."""
    items, inserted = page.items, [placed.insertion for placed in page.inserted]
    led_from = leading_pins(page) if "title" in ask.display else ()
    wanted: dict[int, list[int]] = {
        type_pb2.OBJECT_KIND_PIN: list(dict.fromkeys([*page.pins.tolist(), *led_from]))
    }
    if "board" in ask.display:
        boards = [*items.boards.tolist(), *(insertion.board for insertion in inserted)]
        wanted[type_pb2.OBJECT_KIND_BOARD] = sorted({board for board in boards if board})
    if "owner" in ask.display:
        owners = [*items.owners.tolist(), *items.via.tolist(), *(one.owner for one in inserted)]
        wanted[type_pb2.OBJECT_KIND_USER] = sorted({owner for owner in owners if owner})
    if "interests" in ask.display and items.interests.any():
        wanted[type_pb2.OBJECT_KIND_INTEREST] = np.unique(items.interests[items.interests > 0]).tolist()
    return wanted
