"""The request path's own values: what goes in (`Ask`), what is ranked (`Ranked`), what comes out (`Page`).

Owns no rule and calls nothing. `service.py` makes an `Ask` of a checked request, `pipeline.py` makes a
`Page` of it, and `responses.py` an answer of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.feedgen.answers import Explained, Objects, Walked
from services.feedgen.candidates import Candidates
from services.feedgen.cursor import Cursor
from services.feedgen.recipes.recipe import Recipe, SourceRecipe
from services.feedgen.slots import Insertion, Placed


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
    recipe: Recipe
    """With what the user's arms of experiments override."""
    page_size: int
    cursor: Cursor
    """The session; a new one when the request had none."""
    client_seen: NDArray[np.uint64]
    ranking: Ranking
    model: str
    """As the request named it; empty: the recipe's, or the serving one."""
    display: frozenset[str]
    """Parts of the display that are wanted; empty: none."""
    explain_scores: bool = False
    """Whether each item is to say what its score is made of."""
    log_id: int = 0
    """Scorpion keeps the features for the feature log under this number; 0: the request is not sampled."""
    arms: Sequence[tuple[str, str]] = ()
    """(experiment, arm) that the user is in, in order of names."""
    insertions: Sequence[Insertion] = ()
    """What the caller puts into the recipe's slots."""
    preferred: str = ""
    """Language tag or interest's name that walks prefer."""

    def stage(self, name: str, source: SourceRecipe) -> str:
        """The name of a source's stage: its own where the recipe has several."""
        return name if len(self.recipe.sources) == 1 else f"{name}:{source.name}"


@dataclass(frozen=True)
class Sourced:
    """What one source of the recipe gave."""

    recipe: SourceRecipe
    candidates: Candidates
    basis: str = ""
    """What it was made from, as in the answer's SourceReport; empty: nothing was found."""
    answered: bool = False
    """Whether it had lists, and their pins could be read, though there may be none that are new."""
    failed: bool = False
    """Whether something that it needed did not answer."""
    walked: Walked | None = None


@dataclass(frozen=True)
class Ranked:
    """Candidates with the score that each is ranked by, aligned."""

    candidates: Candidates
    scores: NDArray[np.float32]
    scored: NDArray[np.bool_]
    """Which have the model's own score; the others stand where their light score does."""
    placed: NDArray[np.bool_]
    """Whose board and owner were looked up after the score: the model did not have them."""
    model: str
    """Empty when none scored."""

    def __len__(self) -> int:
        return len(self.candidates)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The given rows, in the given order."""
        return replace(
            self,
            candidates=self.candidates.take(rows),
            scores=self.scores[rows],
            scored=self.scored[rows],
            placed=self.placed[rows],
        )


@dataclass(frozen=True)
class Page:
    """What the answer is made of: aligned columns in page order, and what is inserted between them."""

    items: Candidates
    scores: NDArray[np.float32]
    scored: NDArray[np.bool_]
    """As in `Ranked`."""
    places: Sequence[int]
    """Place of each item on the page, 0 the first."""
    inserted: Sequence[Placed]
    """What stands on the other places."""
    source: Source
    sources: Sequence[Sourced]
    """What the recipe's sources gave, in its order."""
    model: str
    objects: Objects = field(default_factory=lambda: Objects({}))
    explained: Explained = field(default_factory=Explained)
    more: bool = False
    """Whether candidates are left for another page."""

    @property
    def pins(self) -> NDArray[np.uint64]:
        """All pins that are shown, the inserted ones too, in page order."""
        shown = [0] * (len(self.places) + len(self.inserted))
        for place, pin in zip(self.places, self.items.pins.tolist(), strict=True):
            shown[place] = pin
        for placed in self.inserted:
            shown[placed.place] = placed.insertion.pin
        return np.array([pin for pin in shown if pin], np.uint64)
