"""The request path's own values: what goes in (`Ask`), what is ranked (`Ranked`), what comes out (`Page`).

Owns no rule and calls nothing. `service.py` makes an `Ask` of a checked request, `pipeline.py` makes a
`Page` of it, and `service.py` an answer of that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.feedgen.answers import Explained, Objects
from services.feedgen.candidates import Candidates
from services.feedgen.cursor import Cursor


class Source(Enum):
    """Where the candidates came from."""

    RECIPE = 1
    POPULAR_COLD_START = 2
    POPULAR_FALLBACK = 3
    LAST_KNOWN = 4

    @property
    def popular(self) -> bool:
        """Whether the candidates are popular pins, of which no board is known when they are scored."""
        return self in (Source.POPULAR_COLD_START, Source.POPULAR_FALLBACK)


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
    explain_scores: bool = False
    """Whether each item is to say what its score is made of."""
    log_id: int = 0
    """Scorpion keeps the features for the feature log under this number; 0: the request is not sampled."""


@dataclass(frozen=True)
class Ranked:
    """Candidates with the score that each is ranked by, aligned."""

    candidates: Candidates
    scores: NDArray[np.float32]
    scored: NDArray[np.bool_]
    """Which have the model's own score; the others stand where their light score does."""
    model: str
    """Empty when none scored."""

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The given rows, in the given order."""
        return replace(
            self,
            candidates=self.candidates.take(rows),
            scores=self.scores[rows],
            scored=self.scored[rows],
        )


@dataclass(frozen=True)
class Page:
    """What the answer is made of: aligned columns in page order."""

    items: Candidates
    scores: NDArray[np.float32]
    scored: NDArray[np.bool_]
    """As in `Ranked`."""
    source: Source
    model: str
    objects: Objects
    explained: Explained
    more: bool
    """Whether candidates are left for another page."""
