"""The simulated audience: who looks when, at which pins, and what they do.

Owns the sessions. Exposure is exploratory on purpose: half by recency, half uniform over everything that the
person's followed boards hold and that they have not seen, in random order, so that a model trained on the log
learns taste and not the habits of an older ranker. Actions follow `taste.py`. It is generated; every surface
that shows it must say so. Refuses: clocks, events, RPCs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from services.cli.demo.taste import engagement_logit, sigmoid
from services.cli.demo.world import DAY_MS, World


class ActionKind(StrEnum):
    """Named as the events' action types are. HIDE is the one that is no engagement."""

    CLOSEUP = "closeup"
    CLICK = "click"
    SAVE = "save"
    HIDE = "hide"


@dataclass(frozen=True, slots=True)
class Action:
    """`position` counts from 0 in the session; `board` is where a save went, −1 for the other kinds."""

    position: int
    kind: ActionKind
    time_ms: int
    board: int


@dataclass(frozen=True, slots=True)
class Session:
    """One look at a feed: `pins` and their `boards` by index, in the order seen, all seen at `time_ms`.

    Actions are in order of time, none earlier than the session; a pin may have several (close-up, then save).
    """

    time_ms: int
    person: int
    pins: NDArray[np.intp]
    boards: NDArray[np.intp]
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Habits:
    """How people look and act. Rates are per seen pin, log-odds where named so."""

    sessions_mean: float = 10.0
    """Per person of mean activity, over the whole simulation."""
    pins_min: int = 16
    pins_max: int = 20
    """Pins per session, uniform between the two; fewer when less is there."""
    recent_share: float = 0.5
    """Share of the exposure that prefers new pins; the rest is uniform."""
    recency_days: float = 3.0
    """Decay of the recent share (mean age of what it prefers)."""
    position_logit: float = -0.03
    """Added per position: what stands lower is acted on a little less."""
    noise_logit: float = 0.3
    """Standard deviation of a session's mood, shared by all its pins."""
    hide_rate: float = 0.012
    """Share of pins hidden where the taste is neutral; more where it is disliked."""


_TAIL_MS = 10 * 60_000
_PER_PIN_MS = 4_000


def simulate(world: World, seed: int, *, days: int = 21, habits: Habits | None = None) -> Iterator[Session]:
    """Sessions in order of time, within the `days` before `world.now_ms`.

    Everything is drawn before the first session is yielded (about 0.5 M impressions at the default scale).
    Raises: ValueError when `days` is not within the world's span.
    """
    if not 1 <= days <= world.scale.span_days:
        raise ValueError(f"an audience acts within the world's {world.scale.span_days} days, not {days}")
    habits = habits or Habits()
    rng = np.random.Generator(np.random.PCG64([world.seed, seed, 77]))
    persons, times, seen = _look(world, rng, days=days, habits=habits)
    order = np.lexsort((persons, times))
    sizes = np.array([len(seen[i]) for i in order])
    pins = np.concatenate([seen[i] for i in order]) if len(order) else np.empty(0, dtype=np.intp)
    ends = np.cumsum(sizes)
    position = np.arange(len(pins)) - np.repeat(ends - sizes, sizes)
    acts = _act(
        world,
        rng,
        persons=np.repeat(persons[order], sizes),
        pins=pins,
        times=np.repeat(times[order], sizes),
        position=position,
        noise=np.repeat(rng.normal(0, habits.noise_logit, len(order)), sizes),
        habits=habits,
    )
    pin_board = world.pins.board.astype(np.intp)
    for i, size, end in zip(order.tolist(), sizes.tolist(), ends.tolist(), strict=True):
        start, time_ms, person = end - size, int(times[i]), int(persons[i])
        own = pins[start:end]
        actions = _session_actions(
            acts[start:end], time_ms=time_ms, saves_board=int(world.people.saves_board[person])
        )
        yield Session(time_ms=time_ms, person=person, pins=own, boards=pin_board[own], actions=actions)


def _look(
    world: World, rng: np.random.Generator, *, days: int, habits: Habits
) -> tuple[NDArray[np.intp], NDArray[np.int64], list[NDArray[np.intp]]]:
    """Per session: person, time, and the pins seen. Sessions of one person are in order of time."""
    persons: list[int] = []
    times: list[int] = []
    seen: list[NDArray[np.intp]] = []
    counts = rng.poisson(habits.sessions_mean * world.people.activity)
    start_ms = world.now_ms - days * DAY_MS
    for person, count in enumerate(counts.tolist()):
        pins, since = _reachable(world, person)
        if not count or not len(pins):
            continue
        # Mostly in the evening: the hour is a triangle about 20:00 on a random day.
        hour = rng.triangular(6, 20, 24, count) + rng.normal(0, 0.2, count)
        moments = start_ms + ((rng.integers(0, days, count) + hour / 24.0) * DAY_MS).astype(np.int64)
        moments = np.sort(np.clip(moments, start_ms, world.now_ms - _TAIL_MS))
        sizes = rng.integers(habits.pins_min, habits.pins_max + 1, count).tolist()
        unseen = np.ones(len(pins), dtype=np.bool_)
        created = world.pins.created_ms[pins]
        for moment, size in zip(moments.tolist(), sizes, strict=True):
            there = np.nonzero(unseen & (since <= moment))[0]
            if len(there) < size // 4:
                continue
            picked = there[_explore(rng, ages_ms=moment - created[there], size=size, habits=habits)]
            unseen[picked] = False
            persons.append(person)
            times.append(moment)
            seen.append(pins[picked])
    return np.array(persons, dtype=np.intp), np.array(times, dtype=np.int64), seen


def _reachable(world: World, person: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Pins of the person's followed boards, and from when each is in reach (created and followed)."""
    boards, followed_ms = world.followed_boards(person)
    lists = [world.pins_of_board(int(b)) for b in boards]
    if not lists:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.int64)
    pins = np.concatenate(lists)
    since = np.repeat(followed_ms, [len(part) for part in lists])
    return pins, np.maximum(since, world.pins.created_ms[pins])


def _explore(
    rng: np.random.Generator, *, ages_ms: NDArray[np.int64], size: int, habits: Habits
) -> NDArray[np.intp]:
    """Up to `size` rows without replacement, by an exponential race over the mixed weights, then shuffled.

    The shuffle matters: a race finishes heavy rows first, and recency would leak into the position.
    """
    recent = np.exp(ages_ms * (-1.0 / (habits.recency_days * DAY_MS)))
    weights = habits.recent_share * recent / recent.sum() + (1 - habits.recent_share) / len(ages_ms)
    if len(ages_ms) <= size:
        return rng.permutation(len(ages_ms))
    race = rng.standard_exponential(len(ages_ms)) / weights
    return rng.permutation(np.argpartition(race, size)[:size])


# One bit per kind, in the order in which they happen.
_KINDS = ((1, ActionKind.CLOSEUP), (2, ActionKind.CLICK), (4, ActionKind.SAVE), (8, ActionKind.HIDE))


def _act(
    world: World,
    rng: np.random.Generator,
    *,
    persons: NDArray[np.intp],
    pins: NDArray[np.intp],
    times: NDArray[np.int64],
    position: NDArray[np.intp],
    noise: NDArray[np.float64],
    habits: Habits,
) -> NDArray[np.uint8]:
    """What happened on each impression, as bits (see _KINDS); 0 is nothing."""
    logit = engagement_logit(world, persons, pins, times)
    engaged = rng.random(len(pins)) < sigmoid(logit + noise + habits.position_logit * position)
    # The better the match, the more often it is a save; the form is drawn apart from the fact.
    save = rng.random(len(pins)) < sigmoid(0.5 * logit + 0.1)
    click = rng.random(len(pins)) < 0.28
    closeup = (rng.random(len(pins)) < 0.8) | ~(save | click)
    acts = engaged * (closeup * 1 + click * 2 + save * 4)
    dislike = np.clip(habits.hide_rate * np.exp(-0.6 * (logit + 3.0)), 0, 0.15)
    hide = ~engaged & (rng.random(len(pins)) < dislike)
    bits: NDArray[np.uint8] = (acts + hide * 8).astype(np.uint8)
    return bits


def _session_actions(acts: NDArray[np.uint8], *, time_ms: int, saves_board: int) -> tuple[Action, ...]:
    out: list[Action] = []
    for position in np.nonzero(acts)[0].tolist():
        bits = int(acts[position])
        at = time_ms + position * _PER_PIN_MS
        for bit, kind in _KINDS:
            if bits & bit:
                at += 900
                board = saves_board if kind is ActionKind.SAVE else -1
                out.append(Action(position=position, kind=kind, time_ms=at, board=board))
    return tuple(out)
