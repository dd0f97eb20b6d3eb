"""Claims about who is in which arm: frozen, uniform, independent, and stable while a dial turns."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from services.feedgen.experiments.arms import (
    BUCKET_COUNT,
    RESOLVED_MAX,
    Arm,
    Experiment,
    Experiments,
    arm_ends,
    dial_buckets,
)

USERS = range(1, 20_001)
ALPHA = 1e-4
"""Of the chi-square tests. Users are fixed, so each passes always or never."""


def experiment(
    name: str = "gap",
    *,
    dial: float = 100,
    weights: Mapping[str, float] | None = None,
    sets: Mapping[str, Mapping[str, Any]] | None = None,
    **more: Any,
) -> Experiment:
    arms = tuple(
        Arm(arm, weight, (sets or {}).get(arm, {}))
        for arm, weight in (weights or {"control": 1, "wide": 1}).items()
    )
    more.setdefault("salt", name)
    more.setdefault("feeds", frozenset({"home"}))
    return Experiment(name=name, dial=dial, arms=arms, **more)


def arm_of(one: Experiment, user: int) -> str:
    """The arm of a user; empty: not in."""
    assigned = Experiments([one]).arms(user, "home")
    return assigned[0].arm if assigned else ""


def arms_of(one: Experiment) -> list[str]:
    experiments = Experiments([one])
    return [next((each.arm for each in experiments.arms(user, "home")), "") for user in USERS]


@functools.cache
def buckets(salt: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The tenth of the dial at which each user comes in, 0 to 10."""
    inside = np.zeros(len(USERS), dtype=np.int64)
    for dial in range(10, 100, 10):
        inside += [not arm for arm in arms_of(experiment(salt, dial=dial))]
    return inside


def p_of(table: np.ndarray[Any, Any]) -> float:
    """Probability of counts as uneven as these, were all of them equally likely."""
    expected = table.sum() / table.size
    return float(chi2.sf(((table - expected) ** 2 / expected).sum(), table.size - 1))


@pytest.mark.parametrize(
    ("salt", "user", "in_bucket", "arm_bucket"),
    [
        ("board_gap", 1, 8560, 1563),
        ("board_gap", 42, 4265, 8904),
        ("board_gap", 2**64 - 1, 7677, 348),
        ("walk", 1, 8112, 5151),
        ("walk", 123_456_789, 736, 971),
        ("héllo", 2, 1056, 7195),
    ],
)
def test_buckets_are_frozen(salt: str, user: int, in_bucket: int, arm_bucket: int) -> None:
    # One arm a bucket on each side of the frozen one: whoever changes the hash moves people.
    around = {"before": arm_bucket, "here": 1, "after": BUCKET_COUNT - arm_bucket - 1}
    just_out = experiment(salt, dial=in_bucket / 100, weights=around)
    just_in = experiment(salt, dial=(in_bucket + 1) / 100, weights=around)
    assert arm_of(just_out, user) == ""
    assert arm_of(just_in, user) == "here"


def test_another_process_draws_the_same() -> None:
    code = (
        "from services.feedgen.experiments.arms import *\n"
        "one = Experiment(name='gap', salt='gap', dial=50, feeds=frozenset({'home'}), "
        "arms=(Arm('control', 1, {}), Arm('wide', 1, {})))\n"
        "found = Experiments([one])\n"
        "print(','.join(next((a.arm for a in found.arms(u, 'home')), '') for u in range(1, 201)))"
    )
    # Python's own hash of a string differs from process to process.
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    ).stdout
    assert printed.strip().split(",") == arms_of(experiment(dial=50))[:200]


@pytest.mark.parametrize("salt", ["gap", "walk_preset", "x"])
def test_the_dial_lets_in_its_share(salt: str) -> None:
    table = np.bincount(buckets(salt), minlength=10)
    assert table.size == 10
    assert p_of(table) > ALPHA


@pytest.mark.parametrize("salt", ["gap", "walk_preset", "x"])
def test_arms_get_their_weights(salt: str) -> None:
    found = Counter(arms_of(experiment(salt, weights={str(arm): 1 for arm in range(20)})))
    assert p_of(np.array([found[str(arm)] for arm in range(20)])) > ALPHA
    skewed = Counter(arms_of(experiment(salt, weights={"a": 1, "b": 3})))
    assert skewed["b"] / len(USERS) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(("one", "other"), [("gap", "walk"), ("gap", "gap2"), ("a", "b")])
def test_experiments_of_other_salts_are_independent(one: str, other: str) -> None:
    table = np.zeros((10, 10))
    np.add.at(table, (buckets(one), buckets(other)), 1)
    assert p_of(table) > ALPHA


def test_who_is_in_says_nothing_of_the_arm() -> None:
    half = experiment(dial=50, weights={str(arm): 1 for arm in range(10)})
    found = Counter(arm for arm in arms_of(half) if arm)
    assert p_of(np.array([found[str(arm)] for arm in range(10)])) > ALPHA


@settings(max_examples=50, deadline=None)
@given(
    user=st.integers(1, 2**64 - 1),
    dials=st.lists(st.integers(0, 10_000), min_size=2, max_size=6).map(sorted),
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any),
)
def test_turning_the_dial_up_keeps_everybody_in_their_arm(
    user: int, dials: list[int], weights: list[int]
) -> None:
    named = {f"arm{place}": float(weight) for place, weight in enumerate(weights)}
    arms = [arm_of(experiment(dial=dial / 100, weights=named), user) for dial in dials]
    inside = [arm for arm in arms if arm]
    assert arms == [""] * (len(arms) - len(inside)) + inside
    assert len(set(inside)) <= 1
    assert all(named[arm] > 0 for arm in inside)


def test_a_dial_of_0_is_nobody_and_of_100_everybody() -> None:
    assert set(arms_of(experiment(dial=0))) == {""}
    assert set(arms_of(experiment(dial=100))) == {"control", "wide"}
    assert [dial_buckets(dial) for dial in (0, 0.01, 33.33, 100)] == [0, 1, 3_333, 10_000]
    assert arm_ends([1, 0, 2]) == [3_333, 3_333, 10_000]


def test_the_allow_list_only_narrows() -> None:
    anybody = experiment(dial=50)
    inside = [user for user, arm in zip(USERS, arms_of(anybody), strict=True) if arm]
    outside = next(user for user in USERS if user not in inside[:50])
    some = experiment(dial=50, users=frozenset([*inside[:3], outside]))
    assert [arm_of(some, user) for user in inside[:3]] == [arm_of(anybody, user) for user in inside[:3]]
    assert arm_of(some, outside) == ""
    assert arm_of(some, inside[4]) == ""


@pytest.mark.parametrize("dial", [0, 50, 100])
def test_a_forced_user_is_in_the_arm_whatever_the_dial_says(dial: float) -> None:
    for arm in ("control", "wide"):
        forced = experiment(dial=dial, users=frozenset({3}), forced={7: arm})
        assert arm_of(forced, 7) == arm


def test_arms_come_in_order_of_names_and_only_on_their_feeds() -> None:
    experiments = Experiments(
        [
            experiment("zeta"),
            experiment("alpha", feeds=frozenset({"home", "interest"})),
            experiment("ended", dial=0),
        ]
    )
    assert [each.experiment for each in experiments.arms(7, "home")] == ["alpha", "zeta"]
    assert [each.experiment for each in experiments.arms(7, "interest")] == ["alpha"]
    assert experiments.arms(7, "following") == ()
    assert Experiments.none().arms(7, "home") == ()


def test_a_recipe_is_made_once_for_all_who_have_the_same_settings() -> None:
    experiments = Experiments([experiment(sets={"wide": {"select.board_gap": 6}})])
    made: list[dict[str, Any]] = []

    def make(of: Mapping[str, Any]) -> dict[str, Any]:
        made.append(dict(of))
        return dict(of)

    for user in USERS[:100]:
        arms = experiments.arms(user, "home")
        wanted = {"select.board_gap": 6} if arms[0].arm == "wide" else {}
        assert experiments.resolved("home", arms, make) == wanted
    assert experiments.resolved("home", (), make) == {}
    assert sorted(made, key=len) == [{}, {"select.board_gap": 6}]


def test_the_same_arms_on_another_feed_are_another_recipe() -> None:
    feeds = frozenset({"home", "interest"})
    experiments = Experiments([experiment(sets={"wide": {"select.board_gap": 6}}, feeds=feeds)])
    wide = next(user for user in USERS if experiments.arms(user, "home")[0].arm == "wide")
    for feed in sorted(feeds):
        arms = experiments.arms(wide, feed)
        assert experiments.resolved(feed, arms, lambda _, feed=feed: feed) == feed  # type: ignore[misc]


def test_kept_recipes_are_bounded() -> None:
    experiments = Experiments.none()
    made: list[str] = []

    def ask(feed: str) -> None:
        def make(_: Mapping[str, Any]) -> str:
            made.append(feed)
            return feed

        assert experiments.resolved(feed, (), make) == feed

    for at in range(RESOLVED_MAX + 1):
        ask(f"feed{at}")
    # The first made way for the last; the second is still there.
    ask("feed1")
    assert len(made) == RESOLVED_MAX + 1
    ask("feed0")
    assert len(made) == RESOLVED_MAX + 2
