"""Claims about files: what is in them, and everything that is refused before a request could meet it."""

from __future__ import annotations

import pytest

from services.chassis.errors import ConfigFaults
from services.feedgen.experiments.arms import Experiments
from services.feedgen.experiments.checks import COMBINATIONS_MAX
from services.feedgen.experiments.file import recipe_check
from services.feedgen.experiments.overrides import Settings
from services.feedgen.experiments.text import parse_experiments
from services.feedgen.recipes.files import read_trees

TREES = read_trees()
CHECK = recipe_check(TREES)

GAP = """
[[experiment]]
name = "gap"
dial = 50
feeds = ["home"]
force = { 7 = "wide", 18446744073709551615 = "control" }
users = [1, 2, 3]
[[experiment.arm]]
name = "control"
weight = 3
[[experiment.arm]]
name = "wide"
[experiment.arm.set]
"select.board_gap" = 6
score.model = "v12"
"""


def parse(text: str) -> Experiments:
    return parse_experiments(text, CHECK, feeds=TREES)


def faults_of(text: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        parse(text)
    return list(caught.value.faults)


def one(name: str, sets: str, *, dial: str = "10", feeds: str = '["home"]', more: str = "") -> str:
    """An experiment with a control arm and one that sets something."""
    return (
        f'[[experiment]]\nname = "{name}"\ndial = {dial}\nfeeds = {feeds}\n{more}\n'
        f'[[experiment.arm]]\nname = "control"\n'
        f'[[experiment.arm]]\nname = "other"\n[experiment.arm.set]\n{sets}\n'
    )


def test_a_file_says_experiments() -> None:
    (gap,) = parse(GAP).all
    assert (gap.name, gap.salt, gap.dial) == ("gap", "gap", 50.0)
    assert gap.feeds == frozenset({"home"})
    assert gap.users == frozenset({1, 2, 3})
    assert gap.forced == {7: "wide", 2**64 - 1: "control"}
    assert [(arm.name, arm.weight, dict(arm.settings)) for arm in gap.arms] == [
        ("control", 3, {}),
        ("wide", 1, {"select.board_gap": 6, "score.model": "v12"}),
    ]


def test_an_empty_file_says_none() -> None:
    assert parse("").all == ()
    assert parse("# nothing yet\n").all == ()


def test_without_feeds_it_is_about_all_of_them() -> None:
    (gap,) = parse(GAP.replace('feeds = ["home"]\n', "")).all
    assert gap.feeds == set(TREES)


def test_a_salt_of_its_own_draws_otherwise() -> None:
    everybody = GAP.replace("users = [1, 2, 3]", "")
    salted = everybody.replace("dial = 50", 'dial = 50\nsalt = "another"')
    drawn = [[bool(parse(text).arms(user, "home")) for user in range(8, 100)] for text in (everybody, salted)]
    assert drawn[0] != drawn[1]


SETS = '"select.board_gap" = 6'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("[[experiment]", "is not TOML", id="no TOML"),
        pytest.param(GAP.replace("dial", "dail"), "did you mean dial", id="a misspelt key"),
        pytest.param(GAP.replace("dial = 50", ""), "dial is missing", id="no dial"),
        pytest.param(GAP.replace("dial = 50", "dial = 101"), r"dial = 101", id="a dial over 100"),
        pytest.param(GAP.replace("dial = 50", "dial = 0.005"), "finer than a bucket", id="too fine a dial"),
        pytest.param(GAP.replace("dial = 50", "dial = nan"), "dial", id="no number"),
        pytest.param('[[experiment]]\nname = "x"\ndial = 1\n', "arm is missing", id="no arm"),
        pytest.param(GAP.replace('"wide"\n', '"control"\n'), "two have the arm 'control'", id="arm twice"),
        pytest.param(GAP + GAP, "two have the name 'gap'", id="name twice"),
        pytest.param(
            one("a", SETS, more='salt = "s"') + one("b", '"score.model" = "x"', more='salt = "s"'),
            "two have the salt 's'",
            id="salt twice",
        ),
        pytest.param(GAP.replace('"gap"', '"Gap!"'), "name = 'Gap!'", id="a name that is no label"),
        pytest.param(GAP.replace('["home"]', '["hom"]'), r"feeds = 'hom': there is no such feed", id="feed"),
        pytest.param(GAP.replace("7 =", "x ="), "force.x: is no user", id="forced nobody"),
        pytest.param(GAP.replace("7 =", "0 ="), "force.0: is no user", id="forced user 0"),
        pytest.param(
            GAP.replace('7 = "wide"', '7 = "wid"'), "force.7 = 'wid': there is no such arm", id="forced arm"
        ),
        pytest.param(GAP.replace("[1, 2, 3]", "[0]"), "users.0 = 0", id="user 0"),
        pytest.param(GAP.replace("weight = 3", "weight = -1"), "weight", id="a negative weight"),
        pytest.param(
            GAP.replace("weight = 3", "weight = 0.00001"), "less than a bucket", id="a weight of nobody"
        ),
        pytest.param(
            '[[experiment]]\nname = "x"\ndial = 1\n[[experiment.arm]]\nname = "a"\nweight = 0',
            "weights are all 0",
            id="no weight at all",
        ),
        pytest.param(one("a", '"select.bord_gap" = 6'), "did you mean board_gap", id="an unknown key"),
        pytest.param(one("a", '"select.board_gap" = "x"'), r"select\.board_gap = 'x'", id="a wrong type"),
        pytest.param(one("a", '"select.board_gap" = 0'), r"select\.board_gap = 0", id="out of range"),
        pytest.param(one("a", '"sources.picked.prset" = "x"'), "did you mean preset", id="key of a source"),
        pytest.param(
            one("a", '"sources.pick.preset" = "x"'), "there are following, interests, picked", id="a source"
        ),
        pytest.param(
            one("a", '"sources.picked.preset" = "x"', feeds='["interest"]'),
            r"arm other, feed interest: .*there is no sources\.picked",
            id="a source of another feed",
        ),
        pytest.param(one("a", "select = 5"), "select", id="a table for a value"),
        pytest.param(one("a", '"select.x" = 1\nselect = 2'), "set the same thing", id="both"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigFaults, match=says):
        parse(text)


def test_every_fault_of_every_experiment_is_told() -> None:
    faults = faults_of(
        one("a", '"select.bord_gap" = 6', feeds='["home", "following"]')
        + one("b", '"score.modl" = "x"')
        + one("c", '"score.model" = "y"', feeds='["hom"]')
    )
    assert [fault.split(":")[0] for fault in faults] == [
        "experiment a",
        "experiment a",
        "experiment b",
        "experiment c",
    ]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        pytest.param(one("a", SETS), one("b", '"select.board_gap" = 9'), True, id="one key"),
        pytest.param(one("a", SETS), one("b", '"select.owner_gap" = 9'), False, id="two keys of a table"),
        pytest.param(
            one("a", SETS), one("b", '"select.board_gap" = 9', feeds='["following"]'), False, id="two feeds"
        ),
        pytest.param(
            one("a", SETS, dial="0"), one("b", '"select.board_gap" = 9'), False, id="one that has ended"
        ),
        pytest.param(
            one("a", SETS, dial="0", more='force = { 3 = "other" }'),
            one("b", '"select.board_gap" = 9'),
            True,
            id="one with somebody forced",
        ),
    ],
)
def test_two_experiments_do_not_set_one_thing(first: str, second: str, clash: bool) -> None:
    if clash:
        (fault,) = faults_of(first + second)
        assert "experiments a and b both set select.board_gap on home" in fault
    else:
        assert len(parse(first + second).all) == 2


def test_arms_that_make_no_recipe_together_are_refused() -> None:
    # Each leaves room for the others alone: of .3, .1 and .1 one becomes .7.
    first = one("a", '"sources.following.share_min" = 0.7')
    second = one("b", '"sources.picked.share_min" = 0.4')
    assert parse(first).all
    assert parse(second).all
    (fault,) = faults_of(first + second)
    assert fault.startswith("feed home under a=other, b=other: ")
    assert "share_min" in fault
    assert len(parse(first + second.replace("dial = 10", "dial = 0")).all) == 2


KEYS = ("board_gap", "owner_gap", "interest_gap", "source_gap")


def many(count: int) -> str:
    """So many experiments, each of whose arms sets a key of its own."""
    assert 2 ** (count - 1) <= COMBINATIONS_MAX < 2**count
    return "".join(one(f"x{at}", f'"made.key{at}" = 1') for at in range(count))


def test_every_set_of_arms_is_checked_and_their_number_is_bounded() -> None:
    asked: list[int] = []

    def check(feed: str, settings: Settings) -> tuple[str, ...]:
        asked.append(len(settings))
        return ()

    text = "".join(one(f"x{at}", f'"select.{key}" = 2') for at, key in enumerate(KEYS))
    parse_experiments(text, check, feeds=TREES)
    # Each alone, then all sets of two, three and four.
    assert sorted(asked) == [1] * 4 + [2] * 6 + [3] * 4 + [4]
    with pytest.raises(ConfigFaults, match="2048 sets of arms are possible, at most 1024"):
        parse_experiments(many(11), check, feeds=TREES)
