"""Experiments: who is in which arm, and what that changes in a recipe. Pure, and the same in every process.

    bucket(use)   = xxh3_64(salt, 0, use, 0, user as 8 little-endian bytes) mod 10,000
    in            ⇔ bucket("in") < dial × 100
    arm           = the one whose share of the 10,000, by weight and in the file's order, has bucket("arm")

Two hashes, so that turning the dial up keeps everybody who is in, in the arm that they have: the first alone
says who is in, and only ever lets more in. Turning it down is the inverse. Other weights, another order of
arms or another salt move people. Nothing is stored: a file says who had what.
Next: `text.py` (what a file may say), `overrides.py` (settings over a recipe).
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar

import xxhash

from services.feedgen.experiments.overrides import Settings

T = TypeVar("T")

BUCKET_COUNT: Final = 10_000
"""Buckets: a dial's finest step is a hundredth of a per cent. Part of what files mean: never changed."""
RESOLVED_MAX: Final = 1_024
"""Recipes with overrides that are kept, of all feeds."""


class Assigned(NamedTuple):
    """An arm that a user is in."""

    experiment: str
    arm: str
    settings: Settings
    """What it overrides, by dotted key; empty: nothing, as of a control arm."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant."""

    name: str
    weight: float
    settings: Settings


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment, checked by `text.py`; refuses nothing itself."""

    name: str
    salt: str
    dial: float
    """Per cent of the users that are in."""
    feeds: frozenset[str]
    """Recipes that it is about."""
    arms: tuple[Arm, ...]
    users: frozenset[int] | None = None
    """None but these can be in; None: everybody can."""
    forced: Mapping[int, str] = field(default_factory=dict)
    """Users who are in an arm whatever dial, allow-list and bucket say."""

    @property
    def has_anybody(self) -> bool:
        """Whether anyone can be in it."""
        return self.dial > 0 or bool(self.forced)


class _Draw:
    """An experiment made ready to ask."""

    __slots__ = ("_arm_prefix", "_assigned", "_dial_buckets", "_ends", "_forced", "_in_prefix", "_users")

    def __init__(self, experiment: Experiment) -> None:
        salt = experiment.salt.encode()
        self._in_prefix = salt + b"\0in\0"
        self._arm_prefix = salt + b"\0arm\0"
        self._dial_buckets = dial_buckets(experiment.dial)
        self._users = experiment.users
        self._ends = arm_ends([arm.weight for arm in experiment.arms])
        self._assigned = [Assigned(experiment.name, arm.name, arm.settings) for arm in experiment.arms]
        by_name = {each.arm: each for each in self._assigned}
        self._forced = {user: by_name[arm] for user, arm in experiment.forced.items()}

    def arm(self, user: int) -> Assigned | None:
        """The arm of a user; None: the user is not in."""
        if self._forced and (forced := self._forced.get(user)) is not None:
            return forced
        if not self._dial_buckets or (self._users is not None and user not in self._users):
            return None
        id = user.to_bytes(8, "little")
        if xxhash.xxh3_64_intdigest(self._in_prefix + id) % BUCKET_COUNT >= self._dial_buckets:
            return None
        bucket = xxhash.xxh3_64_intdigest(self._arm_prefix + id) % BUCKET_COUNT
        return self._assigned[bisect_right(self._ends, bucket)]


class Experiments:
    """All experiments of one file. Immutable but for the recipes it keeps; any thread may ask."""

    def __init__(self, experiments: Sequence[Experiment] = ()) -> None:
        self.all: tuple[Experiment, ...] = tuple(sorted(experiments, key=lambda each: each.name))
        """In order of names, as answers list them."""
        self._draws: dict[str, list[_Draw]] = {}
        for experiment in filter(lambda each: each.has_anybody, self.all):
            draw = _Draw(experiment)
            for feed in experiment.feeds:
                self._draws.setdefault(feed, []).append(draw)
        self._resolved: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def none(cls) -> Experiments:
        """No experiment."""
        return cls()

    def arms(self, user: int, feed: str) -> tuple[Assigned, ...]:
        """The arms that a user (0 to 2^64 - 1) is in on a feed, by the experiments' names; cost: about 1 µs
        an experiment of the feed."""
        draws = self._draws.get(feed)
        if not draws:
            return ()
        found = (draw.arm(user) for draw in draws)
        return tuple(assigned for assigned in found if assigned is not None)

    def resolved(self, feed: str, arms: Sequence[Assigned], make: Callable[[Settings], T]) -> T:
        """What `make` makes of the arms' settings together; made once, as long as this file is in use.

        At most RESOLVED_MAX are kept, the oldest made goes first. A feed must be asked with one `make`, and
        arms must be of this object. Two threads may both make one.
        """
        key = (feed, *(part for each in arms if each.settings for part in (each.experiment, each.arm)))
        kept: T | None = self._resolved.get(key)
        if kept is not None:
            return kept
        made = make(merged(arms))
        with self._lock:
            if len(self._resolved) >= RESOLVED_MAX:
                del self._resolved[next(iter(self._resolved))]
            self._resolved[key] = made
        return made


def merged(arms: Sequence[Assigned]) -> dict[str, Any]:
    """The settings of several arms together; no two set one thing, which is checked when a file is read."""
    return {key: value for each in arms for key, value in each.settings.items()}


def dial_buckets(dial: float) -> int:
    """Buckets that are in at a dial of 0 to 100 per cent."""
    return round(dial * BUCKET_COUNT / 100)


def arm_ends(weights: Sequence[float]) -> list[int]:
    """The first bucket after each arm; the last is BUCKET_COUNT. Their sum must be over 0."""
    total = sum(weights)
    return [round(BUCKET_COUNT * upto / total) for upto in accumulate(weights)]
