"""Arms against the recipes that they change, and against each other; pure.

Everything that a request could meet is met here: each arm over each of its feeds' recipes, and all arms that
one user can be in together. So a request never finds a recipe that is refused. Two experiments that can set
the same thing for one user are refused: which of them was measured could not be told.
Next: `overrides.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from services.feedgen.experiments.arms import Experiment
from services.feedgen.experiments.overrides import Settings, overlap

Check = Callable[[str, Settings], Sequence[str]]
"""(feed, settings) → what is wrong with that feed's recipe under these settings; empty: nothing."""

COMBINATIONS_MAX: Final = 1_024
"""Sets of arms of one feed that are checked. A file with more is refused: a request must not be the first to
try one."""


def arm_faults(experiment: Experiment, check: Check) -> Iterator[str]:
    """What is wrong with each arm alone, over each of its feeds' recipes."""
    for arm in experiment.arms:
        for feed in sorted(experiment.feeds) if arm.settings else ():
            yield from (f"arm {arm.name}, feed {feed}: {fault}" for fault in check(feed, arm.settings))


def clashes(experiments: Sequence[Experiment]) -> Iterator[str]:
    """Experiments that set the same thing; those that nobody can be in do no harm."""
    for one, other in itertools.combinations(experiments, 2):
        shared = sorted(one.feeds & other.feeds)
        if not (shared and one.has_anybody and other.has_anybody):
            continue
        keys = overlap(_keys_of(one), _keys_of(other))
        if keys:
            yield (
                f"experiments {one.name} and {other.name} both set {', '.join(sorted(set(keys)))} on "
                f"{', '.join(shared)}: end one of them, or give them different feeds"
            )


def joint_faults(experiments: Sequence[Experiment], check: Check) -> Iterator[str]:
    """What is wrong with sets of arms that one user can be in: good recipes alone, and none together."""
    for feed in sorted({feed for each in experiments for feed in each.feeds}):
        drawn = [
            [(f"{each.name}={arm.name}", arm.settings) for arm in each.arms if arm.settings] + [("", {})]
            for each in experiments
            if feed in each.feeds and each.has_anybody and _keys_of(each)
        ]
        combination_count = math.prod(map(len, drawn))
        if combination_count > COMBINATIONS_MAX:
            yield (
                f"feed {feed}: {combination_count} sets of arms are possible, at most {COMBINATIONS_MAX} can "
                "be checked: end some experiments, or give them different feeds"
            )
            continue
        for arms in itertools.product(*drawn):
            names = [name for name, _ in arms if name]
            if len(names) > 1:
                settings = {key: value for _, each in arms for key, value in each.items()}
                yield from (f"feed {feed} under {', '.join(names)}: {each}" for each in check(feed, settings))


def _keys_of(experiment: Experiment) -> set[str]:
    return {key for arm in experiment.arms for key in arm.settings}
