"""What a file of experiments may say. Refuses a file whole, with every fault of it.

    [[experiment]]                      name, salt (the name), dial, feeds (all), users, force
    [[experiment.arm]]                  name, weight (1)
    [experiment.arm.set]                dotted keys of the recipe → values; none: a control arm

Next: `checks.py` (arms over recipes, and over each other), `arms.py` (who is in what),
`docs/experiments.md` (for those who write such files).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG, fault_lines
from services.chassis.config_fields import without_unknown_keys
from services.chassis.errors import ConfigFaults
from services.feedgen.experiments.arms import Arm, Experiment, Experiments, arm_ends
from services.feedgen.experiments.checks import Check, arm_faults, clashes, joint_faults
from services.feedgen.experiments.overrides import Settings, flattened
from services.feedgen.recipes.recipe import NAME

_USER_MAX: Final = 2**64 - 1
_DIAL_STEPS: Final = 100
"""Steps of one per cent: a bucket is a hundredth."""

User = Annotated[int, Field(ge=1, le=_USER_MAX)]


@dataclass(frozen=True, config=CONFIG)
class ArmText:
    """One arm."""

    name: str = Field(pattern=NAME)
    """Of the arm, in answers, logs and metrics."""
    weight: float = Field(default=1.0, ge=0)
    """Its share of those who are in, beside the other arms' weights."""
    set: dict[str, Any] = field(default_factory=dict)
    """What it overrides."""


@dataclass(frozen=True, config=CONFIG)
class ExperimentText:
    """One experiment."""

    name: str = Field(pattern=NAME)
    """Of the experiment, in answers, logs and metrics."""
    dial: float = Field(ge=0, le=100)
    """Per cent of the users that are in, in steps of 0.01."""
    arm: tuple[ArmText, ...] = Field(min_length=1, max_length=16)
    """The arms."""
    salt: str = Field(default="", max_length=100, pattern=r"^[^\x00]*$")
    """What buckets are drawn with; empty: the name."""
    feeds: tuple[str, ...] = ()
    """Recipes that it is about; empty: all."""
    users: tuple[User, ...] | None = Field(default=None, max_length=10_000)
    """None but these can be in; absent: everybody can."""
    force: dict[str, str] = Field(default_factory=dict, max_length=1_000)
    """User → arm, whatever dial and `users` say."""


@dataclass(frozen=True, config=CONFIG)
class ExperimentsText:
    """A whole file."""

    experiment: tuple[ExperimentText, ...] = Field(default=(), max_length=64)
    """The experiments."""


_ADAPTER: Final = TypeAdapter(ExperimentsText)


def parse_experiments(text: str, check: Check, *, feeds: Iterable[str]) -> Experiments:
    """The experiments that a TOML text says; an empty text says none.

    Args:
        check: says what is wrong with a feed's recipe under settings; called for every arm, and for every
            set of arms that one user can be in.
        feeds: names of all recipes.

    Raises ConfigFaults with every fault; those of sets of arms once the arms alone have none.
    """
    known_feeds = frozenset(feeds)
    texts = _read(text).experiment
    faults = [
        *_twice("name", [each.name for each in texts]),
        *_twice("salt", [_salt(each) for each in texts]),
    ]
    experiments: list[Experiment] = []
    for each in texts:
        found: list[str] = []
        experiment = _experiment(each, known_feeds, found)
        if not found:
            found.extend(arm_faults(experiment, check))
        faults.extend(f"experiment {each.name}: {fault}" for fault in found)
        experiments.append(experiment)
    faults.extend(clashes(experiments))
    if not faults:
        faults.extend(joint_faults(experiments, check))
    if faults:
        raise ConfigFaults(faults)
    return Experiments(experiments)


def _read(text: str) -> ExperimentsText:
    faults: list[str] = []
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigFaults([f"is not TOML: {fault}"]) from None
    known = without_unknown_keys(ExperimentsText, values, faults)
    try:
        read = _ADAPTER.validate_python(known)
    except ValidationError as fault:
        faults.extend(fault_lines(ExperimentsText, fault))
    if faults:
        raise ConfigFaults(faults)
    return read


def _experiment(text: ExperimentText, known_feeds: frozenset[str], faults: list[str]) -> Experiment:
    """The experiment, and what is wrong with it; with faults it must not be used."""
    faults.extend(_twice("arm", [arm.name for arm in text.arm]))
    faults.extend(_number_faults(text))
    faults.extend(
        f"feeds = {feed!r}: there is no such feed (there are {', '.join(sorted(known_feeds))})"
        for feed in text.feeds
        if feed not in known_feeds
    )
    arms = []
    for arm in text.arm:
        settings: Settings = {}
        try:
            settings = flattened(arm.set)
        except ConfigFaults as fault:
            faults.extend(f"arm {arm.name}: {each}" for each in fault.faults)
        arms.append(Arm(arm.name, arm.weight, settings))
    return Experiment(
        name=text.name,
        salt=_salt(text),
        dial=text.dial,
        feeds=frozenset(text.feeds) or known_feeds,
        arms=tuple(arms),
        users=None if text.users is None else frozenset(text.users),
        forced=_forced(text, faults),
    )


def _number_faults(text: ExperimentText) -> Iterator[str]:
    steps = text.dial * _DIAL_STEPS
    if not math.isclose(steps, round(steps), abs_tol=1e-6):
        yield f"dial = {text.dial}: is finer than a bucket (expected steps of {1 / _DIAL_STEPS})"
    weights = [arm.weight for arm in text.arm]
    if not sum(weights) > 0:
        yield "the arms' weights are all 0: nobody could be in one"
        return
    starts = [0, *arm_ends(weights)]
    for arm, start, end in zip(text.arm, starts, starts[1:], strict=False):
        if arm.weight and start == end:
            yield f"arm {arm.name}: weight = {arm.weight} is less than a bucket beside the others"


def _forced(text: ExperimentText, faults: list[str]) -> dict[int, str]:
    names = {arm.name for arm in text.arm}
    forced: dict[int, str] = {}
    for user, arm in text.force.items():
        if not (user.isascii() and user.isdigit() and 0 < int(user) <= _USER_MAX):
            faults.append(f"force.{user}: is no user (expected a positive integer)")
        elif arm not in names:
            faults.append(
                f"force.{user} = {arm!r}: there is no such arm (there are {', '.join(sorted(names))})"
            )
        else:
            forced[int(user)] = arm
    return forced


def _salt(text: ExperimentText) -> str:
    return text.salt or text.name


def _twice(what: str, values: Sequence[str]) -> Iterator[str]:
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield f"two have the {what} {value!r}: give each its own"
