"""The story of the demo: one person's feed, an action, and how the feed moves.

Owns the choices, all deterministic: whose feed is shown (a clear taste, of usual activity), which pins fit
the taste (the top fifth of what the person can be shown, so a fifth of a page fits by chance), and which
subject to save pins of (one that the first page has little of, and the rest of the feed has plenty of).
Asks with `dry_run`, so looking does not use the feed up. Next: `showing.py`, which prints it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.feedgen.v1 import feedgen_pb2
from services.cli.connection import Connection, reading_after
from services.cli.demo import events
from services.cli.demo.audience import ActionKind
from services.cli.demo.catalogue import LANGUAGES
from services.cli.demo.taste import taste_probability
from services.cli.demo.world import World
from services.cli.faults import UsageFault

PAGE: Final = 20
DEEP: Final = 250
"""How deep the feed is looked at for what rose."""
FIT_SHARE: Final = 0.2
SAVED_COUNT: Final = 3
SUBJECT_MIN: Final = 8
"""Pins of a subject in the deep feed, so that some can rise."""
RARE_MAX: Final = 3
"""Pins of it on the first page."""
ACTIVITY: Final = (0.7, 1.2)
"""Of the person, relative to the mean."""
TURNS: Final = 12
"""People that runs show in turn: who has acted in one run is not whom the next one is about."""
_CHOICES_MAX: Final = 300
_REACHABLE_MIN: Final = 300


@dataclass(frozen=True)
class Shown:
    """One pin of a page, with what the world knows of it."""

    rank: int
    """1 is the first."""
    item: feedgen_pb2.Item
    pin: int
    """Index in the world."""
    fits: bool

    @property
    def interests(self) -> Sequence[str]:
        """Names, the closest first."""
        return self.item.display.interests


@dataclass(frozen=True)
class Page:
    """A page of the demo person's feed."""

    shown: list[Shown]
    model: str
    request_id: str

    @property
    def fit_count(self) -> int:
        """How many fit the hidden taste."""
        return sum(one.fits for one in self.shown)

    def first(self, count: int) -> Page:
        """The page's beginning."""
        return Page(self.shown[:count], self.model, self.request_id)

    def having(self, interest: str) -> list[Shown]:
        """The pins of an interest."""
        return [one for one in self.shown if interest in one.interests]


@dataclass(frozen=True)
class Act:
    """What the person does."""

    interest: str
    pins: list[Shown]


class Person:
    """The demo's person and what fits their taste."""

    def __init__(self, world: World, ids: events.Ids, person: int) -> None:
        self.world = world
        self.ids = ids
        self.index = person
        self._pin_of = {id_: pin for pin, id_ in enumerate(ids.pins)}
        within = reachable(world, person)
        probability = taste_probability(world, person, within)
        self.fit_least = float(np.quantile(probability, 1 - FIT_SHARE)) if len(probability) else 1.0

    @property
    def key(self) -> str:
        """What one types."""
        return self.world.people.keys[self.index]

    @property
    def id(self) -> int:
        """What the mesh knows them as."""
        return self.ids.people[self.index]

    def look(
        self,
        connection: Connection,
        *,
        size: int = PAGE,
        ranking: feedgen_pb2.Ranking.ValueType = feedgen_pb2.RANKING_MODEL,
        token: bytes = b"",
    ) -> Page:
        """Their feed now, without counting it as served."""
        request = feedgen_pb2.GetFeedRequest(user=self.id, page_size=size, ranking=ranking, dry_run=True)
        request.display_mask.paths.append("*")
        with reading_after(token):
            answer = connection.feed(request)
        return self.page(answer)

    def page(self, answer: feedgen_pb2.GetFeedResponse) -> Page:
        """An answer with what the world knows of its pins."""
        # A pin that someone loaded beside the world has no picture here.
        known = [item for item in answer.items if item.pin in self._pin_of]
        pins = np.array([self._pin_of[item.pin] for item in known], np.intp)
        fits = taste_probability(self.world, self.index, pins) >= self.fit_least
        shown = [
            Shown(rank, item, pin, bool(fit))
            for rank, (item, pin, fit) in enumerate(zip(known, pins.tolist(), fits, strict=True), 1)
        ]
        return Page(shown, answer.model, answer.request_id)

    def act(self, connection: Connection, act: Act) -> bytes:
        """Look at the pins closely and save them; the token of that."""
        board = int(self.world.people.saves_board[self.index])
        now_ms = time.time_ns() // 1_000_000
        made = [
            events.acted(
                self.world,
                self.ids,
                person=self.index,
                pin=one.pin,
                kind=kind,
                time_ms=now_ms,
                id_=f"demo-{os.urandom(12).hex()}",
                board=board,
            )
            for one in act.pins
            for kind in (ActionKind.CLOSEUP, ActionKind.SAVE)
        ]
        return connection.publish(made)


def choose_person(world: World, key: str = "", *, turn: int = 0) -> int:
    """The index of the person with this key, or of one with a clear taste: another one each `turn`.

    Raises UsageFault when nobody has the key.
    """
    people = world.people
    if key:
        if key not in people.keys:
            raise UsageFault(f"nobody here is called {key!r}; leave --person away for an example")
        return people.keys.index(key)
    english = people.language == LANGUAGES.index("en")
    # Neither a newcomer, whom the model hardly knows, nor someone whom a few saves no longer move.
    usual = (people.activity > ACTIVITY[0]) & (people.activity < ACTIVITY[1])
    steady = ~people.is_creator & (world.tastes.drift_ms == 0)
    among = np.flatnonzero(english & usual & steady)[:_CHOICES_MAX]
    if not len(among):
        among = np.arange(len(people.keys))[:_CHOICES_MAX]
    clearest = sorted(among.tolist(), key=lambda person: (-_clarity(world, person), person))[:TURNS]
    return int(clearest[turn % len(clearest)])


def choose_act(deep: Page) -> Act | None:
    """Some pins of a subject that the first page has little of and the feed below it has plenty of.

    Of such subjects one that fits the taste, if there is any, and of these the one that stands nearest to
    the first page: a taste that is about to be discovered. Where the feed is short, whatever subject the
    first page has least of; None when there is none at all.
    """
    first = deep.first(PAGE)
    subjects: dict[str, list[Shown]] = {}
    for one in deep.shown:
        for interest in one.interests[:1]:
            subjects.setdefault(interest, []).append(one)
    on_page = {interest: len(first.having(interest)) for interest in subjects}
    near = {
        interest: (int(sum(one.fits for one in ones) < SAVED_COUNT), ones[SUBJECT_MIN - 1].rank, interest)
        for interest, ones in subjects.items()
        if len(ones) >= SUBJECT_MIN and on_page[interest] <= RARE_MAX
    } or {
        interest: (on_page[interest], -len(ones), interest)
        for interest, ones in subjects.items()
        if len(ones) > SAVED_COUNT
    }
    if not near:
        return None
    interest = min(near, key=near.__getitem__)
    # What a person saves is what they like.
    liked = sorted(subjects[interest], key=lambda one: (not one.fits, one.rank))
    return Act(interest, liked[:SAVED_COUNT])


def reachable(world: World, person: int) -> NDArray[np.intp]:
    """Pins of the boards that a person follows, directly or by their owner."""
    boards, _ = world.followed_boards(person)
    lists = [world.pins_of_board(int(board)) for board in boards]
    return np.concatenate(lists) if lists else np.empty(0, np.intp)


def _clarity(world: World, person: int) -> float:
    """How far the best page that the person could get stands above chance, in log-odds of the mean."""
    within = reachable(world, person)
    if len(within) < min(_REACHABLE_MIN, len(world.pins.keys) // 10):
        return 0.0
    probability = np.sort(taste_probability(world, person, within))
    return float(probability[-PAGE:].mean() - probability.mean())
