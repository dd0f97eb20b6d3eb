"""The demo's world as columns: people, boards, pins, follows, and the tastes that nobody can read.

Owns the shape of the world and its numbers (`Scale`); `make_world` is a function of the seed, the scale and
`now_ms` alone, so two machines with one numpy make the same world. Refuses: protos, files, the clock.
Rows are named by index; `ids` are what the mesh knows (nonzero, below 2^63), `keys` what a person can type.
Where next: `making.py` (how it is drawn), `taste.py` (who likes what), `audience.py` (who does what).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.cli.demo.catalogue import INTERESTS, LANGUAGES, PALETTE_NAMES, keywords
from services.cli.demo.pictures import COMPOSITIONS, MOODS, MOTIFS, Picture
from services.cli.demo.taste import Tastes

DAY_MS: Final = 86_400_000
INTEREST_WEIGHTS: Final = (1.0, 0.6, 0.6)
"""How much a pin is of each of its interests, by column of `Pins.interests`: of its subject wholly, of what
is wider, or of its colours alone, less."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a world is. The defaults fit one laptop."""

    people: int = 3_000
    """Everyone, creators among them."""
    creators: int = 150
    """The first so many people own themed boards."""
    boards: int = 1_200
    """Themed boards; each person also has one more, for the pins that they save."""
    pins: int = 20_000
    """At least one per themed board."""
    follows: int = 25
    """Mean follows per person: boards, creators and interests together."""
    span_days: int = 28
    """Pins are created over so many days before now."""

    def __post_init__(self) -> None:
        if not 0 < self.creators <= self.people or not self.creators <= self.boards <= self.pins:
            raise ValueError(f"a world needs creators <= people and creators <= boards <= pins: {self}")
        if self.follows < 6 or self.span_days < 2:
            raise ValueError(f"a world needs at least 6 follows and 2 days: {self}")

    def shrunk(self, factor: float) -> Scale:
        """A smaller world with the same density; for tests and first tries."""
        return replace(
            self,
            people=max(12, round(self.people * factor)),
            creators=max(4, round(self.creators * factor)),
            boards=max(12, round(self.boards * factor)),
            pins=max(60, round(self.pins * factor)),
        )


class FollowKind(IntEnum):
    """What a follow points to; `target` is an index into that table."""

    BOARD = 0
    USER = 1
    INTEREST = 2


@dataclass(frozen=True)
class People:
    """uint64 ids; `names` are invented handles; languages as indices into LANGUAGES; `saves_board`: the board
    where a person's saved pins go; `activity`: sessions relative to the mean, float32."""

    ids: NDArray[np.uint64]
    keys: list[str]
    names: list[str]
    language: NDArray[np.uint8]
    is_creator: NDArray[np.bool_]
    saves_board: NDArray[np.int32]
    activity: NDArray[np.float32]


@dataclass(frozen=True)
class Boards:
    """Themed boards first (`themed_count`), then one board of saves per person, which begins empty.

    theme_motif, theme_palette: int16, −1 when the theme does not fix it."""

    ids: NDArray[np.uint64]
    keys: list[str]
    titles: list[str]
    owner: NDArray[np.int32]
    theme_motif: NDArray[np.int16]
    theme_palette: NDArray[np.int16]
    language: NDArray[np.uint8]
    created_ms: NDArray[np.int64]
    themed_count: int


@dataclass(frozen=True)
class Pins:
    """In order of creation. `interests`: int16 (pins, 3), indices into INTERESTS, −1 where there is none;
    `quality`: float32 in 0..1; the picture's attributes as indices into their tables."""

    ids: NDArray[np.uint64]
    keys: list[str]
    titles: list[str]
    board: NDArray[np.int32]
    owner: NDArray[np.int32]
    motif: NDArray[np.uint8]
    palette: NDArray[np.uint8]
    composition: NDArray[np.uint8]
    mood: NDArray[np.uint8]
    picture_seed: NDArray[np.uint32]
    interests: NDArray[np.int16]
    language: NDArray[np.uint8]
    quality: NDArray[np.float32]
    created_ms: NDArray[np.int64]


@dataclass(frozen=True)
class Follows:
    """Ordered by person, then by time; no person follows one target twice, nobody their own boards."""

    person: NDArray[np.int32]
    kind: NDArray[np.uint8]
    target: NDArray[np.int32]
    time_ms: NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Everything the loader needs, and the hidden `tastes`, which it must not load."""

    seed: int
    scale: Scale
    now_ms: int
    people: People
    boards: Boards
    pins: Pins
    follows: Follows
    interest_ids: NDArray[np.uint64]
    interest_names: tuple[str, ...]
    tastes: Tastes

    def picture(self, pin: int) -> Picture:
        pins = self.pins
        return Picture(
            motif=MOTIFS[pins.motif[pin]],
            palette=PALETTE_NAMES[pins.palette[pin]],
            composition=COMPOSITIONS[pins.composition[pin]],
            mood=MOODS[pins.mood[pin]],
            seed=int(pins.picture_seed[pin]),
        )

    def keywords(self, pin: int) -> tuple[str, ...]:
        picture = self.picture(pin)
        return keywords(
            motif=picture.motif, palette=picture.palette, composition=picture.composition, mood=picture.mood
        )

    def interest_names_of(self, pin: int) -> list[str]:
        return [INTERESTS[i] for i in self.pins.interests[pin] if i >= 0]

    def language_of_pin(self, pin: int) -> str:
        return LANGUAGES[self.pins.language[pin]]

    def follows_of(self, person: int) -> slice:
        """The rows of `follows` that are this person's."""
        first, last = self._follow_bounds[person], self._follow_bounds[person + 1]
        return slice(int(first), int(last))

    def pins_of_board(self, board: int) -> NDArray[np.intp]:
        """The pins a board holds from its owner, oldest first (what the audience saves is not among them)."""
        first, last = self._board_bounds[board], self._board_bounds[board + 1]
        return self._pins_by_board[first:last]

    def boards_of(self, owner: int) -> NDArray[np.intp]:
        """Themed boards that a person owns, in order."""
        first, last = np.searchsorted(self.boards.owner[: self.boards.themed_count], [owner, owner + 1])
        return np.arange(first, last)

    def followed_boards(self, person: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Themed boards that a person follows, directly or by their owner, and since when (the earliest).

        Sorted by board, no board twice; two arrays of one length.
        """
        rows = self.follows_of(person)
        since: dict[int, int] = {}
        for kind, target, time_ms in zip(
            self.follows.kind[rows].tolist(),
            self.follows.target[rows].tolist(),
            self.follows.time_ms[rows].tolist(),
            strict=True,
        ):
            if kind == FollowKind.INTEREST:
                continue
            for board in [target] if kind == FollowKind.BOARD else self.boards_of(target).tolist():
                since[board] = min(time_ms, since.get(board, time_ms))
        boards = sorted(since)
        return np.array(boards, dtype=np.intp), np.array([since[b] for b in boards], dtype=np.int64)

    @cached_property
    def _follow_bounds(self) -> NDArray[np.intp]:
        return np.searchsorted(self.follows.person, np.arange(self.scale.people + 1))

    @cached_property
    def _pins_by_board(self) -> NDArray[np.intp]:
        return np.argsort(self.pins.board, kind="stable")

    @cached_property
    def _board_bounds(self) -> NDArray[np.intp]:
        ordered = self.pins.board[self._pins_by_board]
        return np.searchsorted(ordered, np.arange(len(self.boards.keys) + 1))
