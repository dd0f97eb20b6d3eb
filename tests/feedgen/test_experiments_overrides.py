"""Claims about settings over a recipe's tables."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import ConfigFaults
from services.feedgen.experiments.overrides import flattened, overlap, overridden
from services.feedgen.recipes.files import read_trees, recipe_of

TREE: dict[str, Any] = {
    "sources": {
        "following": {"name": "following", "kind": "followed_boards"},
        "picked": {"name": "picked", "kind": "walk", "preset": "best"},
    },
    "select": {"board_gap": 3},
    "slots": [{"name": "ads", "first": 4}, {"name": "news", "first": 9}],
}


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        pytest.param("select.board_gap", 6, ("select", "board_gap"), id="a value"),
        pytest.param("select.owner_gap", 6, ("select", "owner_gap"), id="a new value"),
        pytest.param("score.model", "v12", ("score", "model"), id="of a table that is not there"),
        pytest.param("sources.picked.preset", "paper", ("sources", "picked", "preset"), id="of a source"),
        pytest.param("slots.news.first", 2, ("slots", 1, "first"), id="of a slot"),
        pytest.param("slots", [], ("slots",), id="a list whole"),
    ],
)
def test_a_setting_changes_one_thing(key: str, value: Any, path: tuple[Any, ...]) -> None:
    before = copy.deepcopy(TREE)
    changed = overridden(TREE, {key: value})
    assert before == TREE
    expected = copy.deepcopy(TREE)
    table: Any = expected
    for part in path[:-1]:
        table = table.setdefault(part, {}) if isinstance(table, dict) else table[part]
    table[path[-1]] = value
    assert changed == expected
    assert list(changed["sources"]) == ["following", "picked"]


def test_several_settings_of_one_table_hold_together() -> None:
    changed = overridden(TREE, {"sources.picked.preset": "paper", "sources.picked.step_count": 5})
    assert changed["sources"]["picked"] == {
        "name": "picked",
        "kind": "walk",
        "preset": "paper",
        "step_count": 5,
    }


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("sources.pickd.preset", r"there is no sources\.pickd \(there are following, picked\)"),
        ("slots.adds.first", r"there is no slots\.adds \(there are ads, news\)"),
        ("slots.ads", "whole table"),
        ("select.board_gap.most", r"there is no select\.board_gap"),
        ("sources.picked.deep.preset", r"there is no sources\.picked\.deep"),
        ("sources.picked.name", "name cannot be changed"),
        ("name", "name cannot be changed"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(key: str, says: str) -> None:
    with pytest.raises(ConfigFaults, match=says):
        overridden(TREE, {key: 1})


def test_every_bad_path_is_told() -> None:
    with pytest.raises(ConfigFaults) as caught:
        overridden(TREE, {"sources.a.preset": 1, "select.board_gap": 2, "sources.b.preset": 1})
    assert len(caught.value.faults) == 2


def test_quoted_dotted_and_nested_keys_are_the_same() -> None:
    flat = {"select.board_gap": 6, "sources.picked.preset": "paper"}
    assert flattened(flat) == flat
    assert flattened({"select": {"board_gap": 6}, "sources": {"picked": {"preset": "paper"}}}) == flat


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param({"select.board_gap": 1, "select": {"board_gap": 2}}, id="twice"),
        pytest.param({"select": 1, "select.board_gap": 2}, id="a table and a value of it"),
        pytest.param({"select..board_gap": 1}, id="an empty part"),
        pytest.param({"": 1}, id="an empty key"),
    ],
)
def test_keys_that_make_no_sense_are_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(ConfigFaults):
        flattened(tables)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("select.board_gap", "select.board_gap", True),
        ("select", "select.board_gap", True),
        ("select.board_gap", "select", True),
        ("select.board_gap", "select.board_gap2", False),
        ("select.board_gap", "select.owner_gap", False),
    ],
)
def test_keys_overlap_when_one_is_the_other_or_in_it(one: str, other: str, found: bool) -> None:
    assert overlap([one], [other]) == ([one] if found else [])


names = st.sampled_from(["select.board_gap", "select.owner_gap", "score.candidates_max", "seen.window_days"])


@given(st.dictionaries(names, st.integers(1, 100)))
def test_overridden_recipes_are_recipes_and_say_what_was_set(settings: dict[str, int]) -> None:
    trees = read_trees()
    assert sorted(trees) == ["following", "home", "interest", "picked_for_you"]
    recipe = recipe_of("home", overridden(trees["home"], settings))
    for key, value in settings.items():
        table, name = key.split(".")
        assert getattr(getattr(recipe, table), name) == value
    assert overridden(trees["home"], {}) == trees["home"]
