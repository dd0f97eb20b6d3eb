"""Boards and owners of candidates that came without: pins of interests, and popular ones.

Owns the stage after the score: the best of them are looked up in Rockstore, since spacing and hiding need
what only their objects know. Those that are too far down for this page are left for the next one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.type.v1 import type_pb2
from services.feedgen.answers import Hidden, Mesh, Objects
from services.feedgen.candidates import Candidates
from services.feedgen.config import BudgetConfig
from services.feedgen.hidden import marks_hidden
from services.feedgen.page import Ask, Ranked
from services.feedgen.run import Run

_PLACED_PAGES: Final = 2
"""Pages of each source whose pins are looked up: spacing and hiding leave out some of the first."""
_PLACED_MAX: Final = 1_000
"""Pins that are looked up for one page."""


class Placer:
    """Looks up where ranked candidates stand."""

    def __init__(self, mesh: Mesh, budget: BudgetConfig) -> None:
        self._mesh = mesh
        self._budget = budget

    async def place(self, ask: Ask, ranked: Ranked, hidden: Hidden, run: Run) -> Ranked:
        """The candidates with boards and owners, less those that the user hides by them."""
        candidates = ranked.candidates
        unknown = candidates.boards == 0
        if not unknown.any():
            return ranked
        asked = _best_of_each(ranked, unknown, _PLACED_PAGES * ask.page_size)
        objects = await run.stage(
            "place",
            self._budget.display_share,
            lambda timeout_s: self._mesh.objects(
                {type_pb2.OBJECT_KIND_PIN: candidates.pins[asked].tolist()}, timeout_s=timeout_s
            ),
            instead="pins of interests and popular ones are not spaced by board and owner",
        )
        if objects is None:
            return _less_unplaced(ranked, unknown) if len(hidden.boards) or len(hidden.owners) else ranked
        marks = np.zeros(len(candidates), np.bool_)
        marks[asked] = True
        placed = replace(ranked, candidates=_placed(candidates, asked, objects), placed=marks)
        gone = (unknown & ~marks) | marks_hidden(placed.candidates, hidden)
        run.count("place", "hidden", int(gone[asked].sum()))
        return placed.take(np.flatnonzero(~gone)) if gone.any() else placed


def _best_of_each(ranked: Ranked, unknown: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Rows without a board, the best of each source."""
    rows = np.flatnonzero(unknown)
    rows = rows[np.argsort(-ranked.scores[rows], kind="stable")]
    sources = ranked.candidates.sources[rows]
    parts = [rows[sources == source][:most] for source in np.unique(sources)]
    return np.concatenate(parts)[:_PLACED_MAX]


def _placed(candidates: Candidates, asked: NDArray[np.intp], objects: Objects) -> Candidates:
    pins = [objects.found.get((type_pb2.OBJECT_KIND_PIN, pin)) for pin in candidates.pins[asked].tolist()]
    boards, owners = candidates.boards.copy(), candidates.owners.copy()
    boards[asked] = [found.pin.board if found else 0 for found in pins]
    owners[asked] = [found.pin.owner if found else 0 for found in pins]
    return replace(candidates, boards=boards, owners=owners)


def _less_unplaced(ranked: Ranked, unknown: NDArray[np.bool_]) -> Ranked:
    """Without pins that may be hidden ones, as long as there are others."""
    return ranked if unknown.all() else ranked.take(np.flatnonzero(~unknown))
