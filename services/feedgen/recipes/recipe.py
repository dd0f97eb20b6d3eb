"""What a feed is made of: a recipe, as its TOML file says it.

    recipe  = sources → select, with what was seen, how it is scored, and places for what is inserted
    source  = where candidates come from: followed_boards, followed_interests, walk (from pins that the user
              acted on, owns or follows, over Pixie's boards) or popular

Owns every knob of a recipe and what the knobs demand of each other. Reads no file: `files.py` does.
The names of the sources and of the tables are those that experiments write (`sources.picked.preset`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG

SourceKind = Literal["followed_boards", "followed_interests", "walk", "popular"]
Basis = Literal["recent_pins", "own_boards", "followed_boards", "popular"]

NAME: Final = r"^[a-z][a-z0-9_]{0,39}$"
"""Names of recipes, sources and slots: they are labels of metrics, and columns of logs."""
SOURCES_MAX: Final = 8


@dataclass(frozen=True, config=CONFIG)
class SourceRecipe:
    """Where candidates come from."""

    name: str = Field(pattern=NAME)
    """Of the source, in answers and experiments."""
    kind: SourceKind = "followed_boards"
    """followed_boards, followed_interests, walk or popular."""
    candidates_max: int = Field(default=1_000, ge=1, le=5_000)
    """Candidates that are retrieved from it."""
    window_days: int = Field(default=90, ge=1, le=3_650)
    """Pins saved longer ago are no candidates."""
    share_min: float = Field(default=0.0, ge=0, le=1)
    """Part of the page that it has at least, as long as it has candidates; holds at every place."""
    share_max: float = Field(default=1.0, gt=0, le=1)
    """Part of the page that it has at most, as long as others have candidates; holds at every place."""
    lists_max: int = Field(default=2_000, ge=1, le=10_000)
    """Boards or interests that it retrieves from: followed ones by the latest follow, a walk's by visits."""
    bases: tuple[Basis, ...] = ("recent_pins", "own_boards", "followed_boards", "popular")
    """Of a walk: what it starts from, the first of these that the user has."""
    signal: str = "recent_pins"
    """Of a walk: RealPin's signal of pins that the user acted on; its weights are those of the actions."""
    half_life_hours: float = Field(default=72.0, gt=0)
    """Of a walk: an action's weight halves in this time."""
    query_pins_max: int = Field(default=50, ge=1, le=1_000)
    """Of a walk: pins that it starts from."""
    preset: str = ""
    """Of a walk: Pixie's settings by name; empty: Pixie's default."""
    step_count: int = Field(default=0, ge=0, le=10_000_000)
    """Of a walk: steps; 0: the preset's."""
    visits_power: float = Field(default=0.5, ge=0, le=1)
    """Of a walk: the affinity of a board is its share of the most visited board's score, to this power."""
    new_boards_only: bool = True
    """Of a walk: leave out boards that the user owns or follows."""
    led_from_max: int = Field(default=3, ge=0, le=16)
    """Of a walk: pins that are named as the reason of an item."""

    def __post_init__(self) -> None:
        if self.share_min > self.share_max:
            raise ValueError(f"share_min {self.share_min} is above share_max {self.share_max}")
        if self.kind == "walk" and not self.bases:
            raise ValueError("a walk needs bases to start from")


@dataclass(frozen=True, config=CONFIG)
class SeenRecipe:
    """What is not shown again."""

    window_days: int = Field(default=90, ge=1, le=366)
    """Pins seen within so many days are not shown again. At least the sources' `window_days`, or old pins
    come back."""
    false_positive_rate: float = Field(default=0.005, ge=0.0001, le=0.1)
    """Share of unseen pins that the seen filter may hide from one request."""
    hidden_max: int = Field(default=5_000, ge=0, le=10_000)
    """Hidden pins, boards and owners, of each, that are read with the follow graph; the latest first."""


@dataclass(frozen=True, config=CONFIG)
class ScoreRecipe:
    """How candidates are scored."""

    model: str = ""
    """Model by name; empty: the serving one. A request that names one goes first. One that is not there costs
    the stage, not the feed."""
    candidates_max: int = Field(default=1_000, ge=1, le=5_000)
    """Candidates of all sources that are scored; each source keeps its part of them."""


@dataclass(frozen=True, config=CONFIG)
class SelectRecipe:
    """How the page is put together. A gap of 1 is no rule."""

    board_gap: int = Field(default=3, ge=1, le=100)
    """Places between two pins of one board, while there is anything else."""
    owner_gap: int = Field(default=2, ge=1, le=100)
    """Places between two pins of one owner, while there is anything else."""
    interest_gap: int = Field(default=1, ge=1, le=100)
    """Places between two pins of one followed interest, while there is anything else."""
    source_gap: int = Field(default=1, ge=1, le=100)
    """Places between two pins of one source, while others have candidates."""


@dataclass(frozen=True, config=CONFIG)
class SlotRecipe:
    """Places of the feed that are for inserted items. Places count from 1, over the pages of a session."""

    name: str = Field(pattern=NAME)
    """Of the slot, which insertions name."""
    first: int = Field(ge=1, le=10_000)
    """The first place."""
    every: int = Field(default=0, ge=0, le=10_000)
    """Another place after each so many; 0: the first alone."""
    reserve: bool = False
    """Whether a place without an insertion is answered as an empty item, for the frontend to fill; otherwise
    the feed goes on there."""


@dataclass(frozen=True, config=CONFIG)
class PopularRecipe:
    """What there is when the sources have nothing."""

    counter: str = "popularity"
    """Counter whose greatest pins they are."""
    pins_max: int = Field(default=500, ge=1, le=5_000)
    """Popular pins that are considered."""


@dataclass(frozen=True, config=CONFIG)
class Recipe:
    """How one feed is made."""

    sources: tuple[SourceRecipe, ...] = Field(min_length=1, max_length=SOURCES_MAX)
    """Where candidates come from. A pin that several have belongs to the first of them."""
    seen: SeenRecipe = field(default_factory=SeenRecipe)
    """What is not shown again."""
    score: ScoreRecipe = field(default_factory=ScoreRecipe)
    """How candidates are scored."""
    select: SelectRecipe = field(default_factory=SelectRecipe)
    """How the page is put together."""
    slots: tuple[SlotRecipe, ...] = Field(default=(), max_length=8)
    """Places for inserted items; where two want one place, the first has it."""
    popular: PopularRecipe = field(default_factory=PopularRecipe)
    """What there is when the sources have nothing."""
    name: str = ""
    """The file's name; not written in it."""

    def __post_init__(self) -> None:
        for what, named in (("sources", self.sources), ("slots", self.slots)):
            names = [one.name for one in named]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {what} have the name {', '.join(twice)}")
        owed = sum(source.share_min for source in self.sources)
        if owed > 1 + 1e-9:
            raise ValueError(f"the sources' share_min add up to {owed:g}, which is more than the page")

    def reads(self, kind: SourceKind) -> int:
        """Most lists that sources of a kind retrieve from; 0: there is none."""
        return max((source.lists_max for source in self.sources if source.kind == kind), default=0)

    @property
    def walks(self) -> Sequence[SourceRecipe]:
        """The sources that walk."""
        return [source for source in self.sources if source.kind == "walk"]
